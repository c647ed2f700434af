#include "server/api/score_request.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/api/conversions.h"
#include "server/api/request_cost.h"
#include "server/api/request_errors.h"
#include "server/api/request_fields.h"
#include "server/experiment/score_windows.h"
#include "server/text/tokenizer.h"
#include "server/util/status_details.h"

namespace olmoe::api {
namespace {

constexpr int kMaxItems = 256;

// One item as tokens.
struct ScoreTokens {
  std::vector<TokenId> context;  // empty: the prefix token
  std::vector<TokenId> continuation;
  std::string merged = {};  // why the continuation has no token of its own; empty: other reasons
};

// Of two texts: `all` are the tokens of both together.
std::string DescribeMerge(size_t all, size_t context) {
  constexpr char kWhat[] = "has no token of its own: its text merges into the end of the context";
  return absl::StrCat(kWhat, ", which has ", context, context == 1 ? " token" : " tokens",
                      " by itself and ", all,
                      " with the continuation: move the boundary between them");
}

// Reads the items of one request; every method adds what is wrong to `errors`.
// Thread-compatible.
class ItemReader {
 public:
  ItemReader(const experiment::Serving& serving, const Interrupt& interrupt, RequestErrors* errors)
      : serving_(serving), interrupt_(interrupt), errors_(errors) {}

  // Appends the windows of `item`, whose fields are named below `name`.
  ScoreItemLayout Read(const v1::ScoreItem& item, const std::string& name,
                       std::vector<engine::ScoreWindow>* windows);

 private:
  ScoreTokens Tokens(const v1::ScoreItem& item, const std::string& name);
  ScoreTokens TextPair(const v1::ScoreItem& item, const std::string& name);
  std::vector<TokenId> Context(const v1::ScoreItem& item, const std::string& name);
  std::vector<TokenId> Continuation(const v1::ScoreItem& item, const std::string& name);
  uint32_t ContinuationBytes(const v1::ScoreItem& item,
                             const std::vector<TokenId>& continuation) const;
  bool FitsContext(size_t continuation_tokens, const std::string& name);
  std::vector<TokenId> Encode(std::string_view text, const std::string& field) {
    return EncodeText(text, field, false, serving_, errors_, interrupt_);
  }

  const experiment::Serving& serving_;
  const Interrupt& interrupt_;
  RequestErrors* const errors_;
};

std::vector<TokenId> ItemReader::Context(const v1::ScoreItem& item, const std::string& name) {
  if (item.has_context_text() && !item.context_text().empty()) {
    return Encode(item.context_text(), name + ".context_text");
  }
  return ParseTokenIds(item.context_tokens().ids(), name + ".context_tokens.ids", serving_,
                       errors_);
}

std::vector<TokenId> ItemReader::Continuation(const v1::ScoreItem& item, const std::string& name) {
  if (item.has_continuation_text()) {
    return Encode(item.continuation_text(), name + ".continuation_text");
  }
  return ParseTokenIds(item.continuation_tokens().ids(), name + ".continuation_tokens.ids",
                       serving_, errors_);
}

// lm-evaluation-harness's _encode_pair: a tokenizer joins white space with the word
// after it, so it belongs to the continuation.
ScoreTokens ItemReader::TextPair(const v1::ScoreItem& item, const std::string& name) {
  const std::string whole = item.context_text() + item.continuation_text();
  const std::string context = item.context_text().substr(
      0, item.context_text().size() - experiment::TrailingWhitespaceBytes(item.context_text()));
  ScoreTokens out;
  std::vector<TokenId> all = Encode(whole, name + ".continuation_text");
  if (!context.empty()) {
    out.context = Encode(context, name + ".context_text");
  }
  if (all.size() > out.context.size()) {
    out.continuation.assign(all.begin() + static_cast<ptrdiff_t>(out.context.size()), all.end());
  } else if (!all.empty() && !item.continuation_text().empty()) {
    out.merged = DescribeMerge(all.size(), out.context.size());
  }
  return out;
}

ScoreTokens ItemReader::Tokens(const v1::ScoreItem& item, const std::string& name) {
  if (item.rolling()) return {{}, Continuation(item, name)};
  const bool two_texts = item.has_context_text() && item.has_continuation_text();
  if (two_texts && !item.context_text().empty()) return TextPair(item, name);
  return {Context(item, name), Continuation(item, name)};
}

uint32_t ItemReader::ContinuationBytes(const v1::ScoreItem& item,
                                       const std::vector<TokenId>& continuation) const {
  if (item.has_continuation_text()) {
    return static_cast<uint32_t>(item.continuation_text().size());
  }
  size_t bytes = 0;
  if (serving_.tokenizer != nullptr) {
    for (const TokenId id : continuation) bytes += serving_.tokenizer->TokenBytes(id).size();
  }
  return static_cast<uint32_t>(bytes);
}

bool ItemReader::FitsContext(size_t continuation_tokens, const std::string& name) {
  const int max_context = serving_.model.max_context;
  if (continuation_tokens <= static_cast<size_t>(max_context)) return true;
  errors_->Add(WithErrorInfo(
      absl::OutOfRangeError(absl::StrCat(name, ": the continuation of ", continuation_tokens,
                                         " tokens exceeds the context of ", max_context,
                                         " tokens (rolling scores it in windows)")),
      "CONTEXT_LENGTH_EXCEEDED",
      {{"continuation_tokens", absl::StrCat(continuation_tokens)},
       {"max_context", absl::StrCat(max_context)}}));
  return false;
}

ScoreItemLayout ItemReader::Read(const v1::ScoreItem& item, const std::string& name,
                                 std::vector<engine::ScoreWindow>* windows) {
  ScoreItemLayout layout;
  layout.first_window = static_cast<int>(windows->size());
  if (item.continuation_case() == v1::ScoreItem::CONTINUATION_NOT_SET) {
    errors_->Add(name + ".continuation", "continuation_text or continuation_tokens must be set");
    return layout;
  }
  const int errors_before = errors_->num_added();
  ScoreTokens tokens = Tokens(item, name);
  if (tokens.continuation.empty()) {
    // An item that could not be read has been named already.
    if (errors_->num_added() != errors_before) return layout;
    if (tokens.merged.empty()) {
      errors_->Add(name + ".continuation", "must have at least one token");
    }
    layout.error = tokens.merged;
    return layout;
  }
  const TokenId prefix = PrefixToken(serving_.model);
  layout.byte_count = ContinuationBytes(item, tokens.continuation);
  if (item.rolling()) {
    auto made =
        experiment::MakeRollingWindows(prefix, tokens.continuation, serving_.model.max_context);
    windows->insert(windows->end(), std::make_move_iterator(made.begin()),
                    std::make_move_iterator(made.end()));
  } else if (FitsContext(tokens.continuation.size(), name)) {
    if (tokens.context.empty()) tokens.context = {prefix};
    experiment::PairWindow pair =
        experiment::MakePairWindow(tokens.context, tokens.continuation, serving_.model.max_context);
    layout.context_tokens_dropped = pair.context_tokens_dropped;
    windows->push_back(std::move(pair.window));
  }
  layout.num_windows = static_cast<int>(windows->size()) - layout.first_window;
  return layout;
}

void CheckAnswerSize(const ScoreInput& input, const experiment::Serving& serving,
                     RequestErrors* errors) {
  const int64_t bytes = AnswerBytes(input, serving.model);
  if (bytes <= serving.max_response_bytes) return;
  errors->Add(WithErrorInfo(
      absl::OutOfRangeError(absl::StrCat("the answer could take ", bytes, " bytes, more than ",
                                         serving.max_response_bytes,
                                         ": ask for fewer items, alternatives or traces")),
      "RESPONSE_TOO_LARGE",
      {{"response_bytes", absl::StrCat(bytes)},
       {"max_response_bytes", absl::StrCat(serving.max_response_bytes)}}));
}

// A replay is of one sequence.
void CheckReplay(const v1::ScoreRequest& request, const ScoreInput& input,
                 const experiment::Serving& serving, RequestErrors* errors) {
  if (!request.routing().has_replay() || !serving.allow_inline_policy) return;
  if (request.items_size() > 1) {
    errors->Add("items",
                absl::StrCat("must have one item with a replay, has ", request.items_size()));
  } else if (request.items_size() == 1 && request.items(0).rolling()) {
    errors->Add("items[0].rolling", "must be false with a replay");
  } else if (input.work.windows.size() == 1) {
    CheckReplayFits(request.routing(), input.work.windows[0].tokens.size(), serving, errors);
  }
}

void ParseItems(const v1::ScoreRequest& request, const experiment::Serving& serving,
                const Interrupt& interrupt, ScoreInput* input, RequestErrors* errors) {
  if (request.items_size() < 1 || request.items_size() > kMaxItems) {
    errors->Add("items",
                absl::StrCat("must have 1..", kMaxItems, " items, has ", request.items_size()));
    return;
  }
  ItemReader reader(serving, interrupt, errors);
  for (int i = 0; i < request.items_size(); ++i) {
    input->items.push_back(
        reader.Read(request.items(i), absl::StrCat("items[", i, "]"), &input->work.windows));
  }
}

}  // namespace

absl::Status MergedContinuations(std::span<const ScoreItemLayout> items, size_t first_index) {
  std::vector<FieldViolation> violations;
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].error.empty()) continue;
    violations.push_back(
        {absl::StrCat("items[", first_index + i, "].continuation"), items[i].error});
  }
  if (violations.empty()) return absl::OkStatus();
  return WithErrorInfo(InvalidFields(violations), "CONTINUATION_MERGED");
}

TokenId PrefixToken(const model::ModelInfo& model) {
  for (const std::optional<int64_t>& id : {model.eos_token_id, model.pad_token_id}) {
    if (id && *id >= 0 && *id < model.vocab_size) return static_cast<TokenId>(*id);
  }
  return 0;
}

absl::StatusOr<ScoreInput> ParseScore(const v1::ScoreRequest& request,
                                      const experiment::Serving& serving,
                                      const Interrupt& interrupt) {
  RequestErrors errors;
  ScoreInput input;
  input.request_id = ParseRequestId(request.request_id(), &errors);
  input.work.top = ParseTop(request.top(), "top", &errors);
  input.work.trace = FromProto(request.trace());
  input.per_token = request.per_token() || request.has_top();
  input.routing = ParseRouting(request.routing(), request.unit_id(), serving, &errors);
  input.routing.routing_seed = request.routing_seed();
  ParseItems(request, serving, interrupt, &input, &errors);
  CheckReplay(request, input, serving, &errors);
  CheckAnswerSize(input, serving, &errors);
  if (!errors.empty()) return errors.ToStatus();
  if (input.work.windows.empty()) return MergedContinuations(input.items);
  return input;
}

}  // namespace olmoe::api
