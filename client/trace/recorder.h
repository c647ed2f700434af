// `generate --trace-out` and `score --trace-out`: from requests and replies to a
// Recording on disk.
#ifndef OLMOE_CLIENT_TRACE_RECORDER_H_
#define OLMOE_CLIENT_TRACE_RECORDER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/transport/rpc_client.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::trace {

// One Generate call, unary or a stream. Thread-compatible.
class GenerateRecorder {
 public:
  // Changes the request so that its reply can be recorded; asks the server for the
  // model and for the tokens of the prompt.
  static absl::StatusOr<GenerateRecorder> Create(v1::GenerateRequest* request,
                                                 transport::RpcClient& rpc);

  // A part of the reply, a GenerateDelta or a whole GenerateResponse.
  template <typename Part>
  void Add(const Part& part) {
    tokens_.insert(tokens_.end(), part.token_ids().begin(), part.token_ids().end());
    if (part.has_trace()) traces_.push_back(part.trace());
  }
  absl::Status Write(const std::string& path, const v1::RoutingStamp& stamp) const;

 private:
  GenerateRecorder() = default;

  v1::GetModelInfoResponse model_;
  std::vector<int32_t> tokens_;  // prompt, then what was generated
  std::vector<v1::RoutingTrace> traces_;
};

// Writes what `response`, to a request with per_token and AskForTrace, says. Asks the
// server for the model and for the tokens of contexts that are texts.
absl::Status RecordScore(const v1::ScoreRequest& request, const v1::ScoreResponse& response,
                         const std::string& path, transport::RpcClient& rpc);

}  // namespace olmoe::client::trace

#endif  // OLMOE_CLIENT_TRACE_RECORDER_H_
