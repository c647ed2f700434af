#include "client/eval/dataset.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/transport/rpc_client.h"
#include "server/util/sha256.h"

namespace olmoe::client::eval {
namespace {

using TokenList = std::vector<uint32_t>;

absl::StatusOr<TokenList> Tokenize(const std::string& text, transport::RpcClient& rpc) {
  v1::TokenizeRequest request;
  request.set_text(text);
  const auto response = rpc.Tokenize(request);
  if (!response.ok()) return response.status();
  return TokenList(response->ids().begin(), response->ids().end());
}

// The same items, the same digest: protobuf writes a message without maps and unknown
// fields in the order of its fields.
EvalUnit Finished(EvalUnit unit) {
  std::string bytes = unit.request.SerializeAsString();
  if (unit.choice) absl::StrAppend(&bytes, "label ", unit.choice->label);
  unit.digest = Sha256Hex(bytes);
  return unit;
}

EvalUnit WindowUnit(const TokenList& stream, const TokenWindow& window) {
  EvalUnit unit;
  unit.request.set_per_token(true);
  v1::ScoreItem* item = unit.request.add_items();
  const auto at = [&stream](size_t i) { return stream.begin() + static_cast<ptrdiff_t>(i); };
  item->mutable_context_tokens()->mutable_ids()->Add(at(window.begin), at(window.first));
  item->mutable_continuation_tokens()->mutable_ids()->Add(at(window.first), at(window.end));
  return Finished(std::move(unit));
}

EvalUnit DocumentUnit(const TokenList& tokens, size_t max_context) {
  EvalUnit unit;
  unit.request.set_per_token(true);
  v1::ScoreItem* item = unit.request.add_items();
  item->set_rolling(true);
  item->mutable_continuation_tokens()->mutable_ids()->Add(tokens.begin(), tokens.end());
  unit.windows = (tokens.size() + max_context - 1) / max_context;
  return Finished(std::move(unit));
}

EvalUnit QuestionUnit(const Question& question) {
  EvalUnit unit;
  unit.request.set_per_token(true);
  unit.choice.emplace();
  unit.choice->label = question.label;
  for (const std::string& continuation : question.continuations) {
    v1::ScoreItem* item = unit.request.add_items();
    item->set_context_text(question.context);
    item->set_continuation_text(continuation);
    const size_t space = continuation.front() == ' ' ? 1 : 0;
    unit.choice->bytes.push_back(static_cast<uint32_t>(continuation.size() - space));
  }
  unit.windows = question.continuations.size();
  return Finished(std::move(unit));
}

// END, then documents followed by END, as far as the limit needs it.
absl::StatusOr<TokenList> TokenStream(const std::vector<std::string>& documents,
                                      const Cutting& cutting, uint32_t end,
                                      transport::RpcClient& rpc) {
  const size_t enough =
      cutting.limit == 0 ? SIZE_MAX : (cutting.limit - 1) * cutting.stride + cutting.window + 1;
  TokenList stream = {end};
  for (const std::string& document : documents) {
    if (stream.size() >= enough) break;
    const auto tokens = Tokenize(document, rpc);
    if (!tokens.ok()) return tokens.status();
    stream.insert(stream.end(), tokens->begin(), tokens->end());
    stream.push_back(end);
  }
  stream.resize(std::min(stream.size(), enough));
  return stream;
}

absl::Status AddDocuments(const std::vector<std::string>& documents, const Cutting& cutting,
                          size_t max_context, transport::RpcClient& rpc,
                          std::vector<EvalUnit>* units) {
  for (const std::string& document : documents) {
    if (cutting.limit != 0 && units->size() == cutting.limit) break;
    const auto tokens = Tokenize(document, rpc);
    if (!tokens.ok()) return tokens.status();
    if (!tokens->empty()) units->push_back(DocumentUnit(*tokens, max_context));
  }
  return absl::OkStatus();
}

absl::Status AddUnits(const Corpus& corpus, const Cutting& cutting,
                      const v1::GetModelInfoResponse& model, transport::RpcClient& rpc,
                      std::vector<EvalUnit>* units) {
  if (corpus.is_choice) {
    const size_t count = cutting.limit == 0 ? corpus.questions.size() : cutting.limit;
    for (size_t i = 0; i < std::min(count, corpus.questions.size()); ++i) {
      units->push_back(QuestionUnit(corpus.questions[i]));
    }
    return absl::OkStatus();
  }
  if (cutting.window == 0) {
    return AddDocuments(corpus.documents, cutting, model.max_context(), rpc, units);
  }
  const auto stream = TokenStream(corpus.documents, cutting, transport::PrefixToken(model), rpc);
  if (!stream.ok()) return stream.status();
  for (const TokenWindow& window : CutWindows(stream->size(), cutting)) {
    units->push_back(WindowUnit(*stream, window));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<TokenWindow> CutWindows(size_t tokens, const Cutting& cutting) {
  std::vector<TokenWindow> windows;
  size_t begin = 0, first = 1;
  while (first < tokens && (cutting.limit == 0 || windows.size() < cutting.limit)) {
    const size_t end = std::min(begin + cutting.window + 1, tokens);
    windows.push_back({begin, first, end});
    first = end;
    begin += cutting.stride;
  }
  return windows;
}

absl::StatusOr<Dataset> MakeDataset(Corpus corpus, const Cutting& cutting,
                                    const v1::GetModelInfoResponse& model,
                                    transport::RpcClient& rpc) {
  Dataset dataset;
  dataset.name = corpus.name;
  dataset.is_choice = corpus.is_choice;
  auto status = AddUnits(corpus, cutting, model, rpc, &dataset.units);
  if (!status.ok()) return status;
  if (dataset.units.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(corpus.name, ": has no token to predict"));
  }
  return dataset;
}

}  // namespace olmoe::client::eval
