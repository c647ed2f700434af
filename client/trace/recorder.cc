#include "client/trace/recorder.h"

#include <algorithm>
#include <span>

#include "absl/strings/str_cat.h"
#include "client/trace/recording.h"
#include "client/transport/rpc_client.h"
#include "unicode/uchar.h"
#include "unicode/utf8.h"

namespace olmoe::client::trace {
namespace {

absl::StatusOr<std::vector<int32_t>> Tokenize(const std::string& text, bool special,
                                              transport::RpcClient& rpc) {
  v1::TokenizeRequest request;
  request.set_text(text);
  request.set_add_special_tokens(special);
  const auto response = rpc.Tokenize(request);
  if (!response.ok()) return response.status();
  return std::vector<int32_t>(response->ids().begin(), response->ids().end());
}

// The context as the server tokenizes it: white space at its end, as Python's
// str.rstrip() sees it, belongs to the continuation.
std::string WithoutTrailingSpace(std::string text) {
  for (int32_t end = static_cast<int32_t>(text.size()); end > 0;) {
    UChar32 c;
    U8_PREV(reinterpret_cast<const uint8_t*>(text.data()), 0, end, c);
    if (c < 0 || !(u_isUWhiteSpace(c) || (c >= 0x1C && c <= 0x1F))) break;
    text.resize(static_cast<size_t>(end));
  }
  return text;
}

// The tokens before the first that is scored, those that were dropped left out.
absl::StatusOr<std::vector<int32_t>> ContextTokens(const v1::ScoreItem& item, uint32_t dropped,
                                                   uint32_t prefix, transport::RpcClient& rpc) {
  std::vector<int32_t> context;
  if (!item.rolling() && item.has_context_text()) {
    const std::string text = WithoutTrailingSpace(item.context_text());
    if (!text.empty()) {
      auto tokens = Tokenize(text, /*special=*/false, rpc);
      if (!tokens.ok()) return tokens.status();
      context = *std::move(tokens);
    }
  } else if (!item.rolling()) {
    context.assign(item.context_tokens().ids().begin(), item.context_tokens().ids().end());
  }
  if (context.empty()) context = {static_cast<int32_t>(prefix)};
  context.erase(context.begin(),
                context.begin() + std::min<ptrdiff_t>(dropped, std::ssize(context)));
  return context;
}

}  // namespace

absl::StatusOr<GenerateRecorder> GenerateRecorder::Create(v1::GenerateRequest* request,
                                                          transport::RpcClient& rpc) {
  auto model = rpc.GetModelInfo({});
  if (!model.ok()) return model.status();
  GenerateRecorder recorder;
  recorder.model_ = *std::move(model);
  if (request->has_text()) {
    const bool special = !request->has_add_special_tokens() || request->add_special_tokens();
    auto tokens = Tokenize(request->text(), special, rpc);
    if (!tokens.ok()) return tokens.status();
    recorder.tokens_ = *std::move(tokens);
  } else {
    recorder.tokens_.assign(request->tokens().ids().begin(), request->tokens().ids().end());
  }
  AskForTrace(request->mutable_trace());
  return recorder;
}

absl::Status GenerateRecorder::Write(const std::string& path, const v1::RoutingStamp& stamp) const {
  Recording recording;
  recording.Describe(model_, stamp);
  for (const v1::RoutingTrace& trace : traces_) {
    const size_t first = std::min<size_t>(trace.first_position(), tokens_.size());
    const size_t rows = std::min<size_t>(trace.num_positions(), tokens_.size() - first);
    auto status = recording.Append(trace, /*item=*/0, std::span(tokens_).subspan(first, rows));
    if (!status.ok()) return status;
  }
  return recording.Write(path);
}

absl::Status RecordScore(const v1::ScoreRequest& request, const v1::ScoreResponse& response,
                         const std::string& path, transport::RpcClient& rpc) {
  const auto model = rpc.GetModelInfo({});
  if (!model.ok()) return model.status();
  Recording recording;
  recording.Describe(*model, response.routing());
  const int items = std::min(request.items_size(), response.results_size());
  for (int item = 0; item < items; ++item) {
    const v1::ScoreResult& result = response.results(item);
    if (result.has_error()) continue;  // nothing of it ran
    auto tokens = ContextTokens(request.items(item), result.context_tokens_dropped(),
                                transport::PrefixToken(*model), rpc);
    if (!tokens.ok()) return tokens.status();
    // The last token is predicted, and never an input.
    for (int i = 0; i + 1 < result.tokens_size(); ++i) {
      tokens->push_back(static_cast<int32_t>(result.tokens(i).token_id()));
    }
    auto status = recording.Append(result.trace(), item, *tokens);
    if (!status.ok()) return status;
  }
  return recording.Write(path);
}

}  // namespace olmoe::client::trace
