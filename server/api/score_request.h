#ifndef OLMOE_SERVER_API_SCORE_REQUEST_H_
#define OLMOE_SERVER_API_SCORE_REQUEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "olmoe/v1/inference.pb.h"
#include "server/engine/request.h"
#include "server/experiment/engine_request.h"
#include "server/experiment/serving.h"
#include "server/util/interrupt.h"

namespace olmoe::api {

// Which windows of the ScoreWork answer one item.
struct ScoreItemLayout {
  int first_window = 0;
  int num_windows = 0;
  int context_tokens_dropped = 0;
  uint32_t byte_count = 0;  // of the continuation as sent
};

// A ScoreRequest with every field checked, tokenized and cut into windows.
struct ScoreInput {
  std::string request_id;
  engine::ScoreWork work;
  std::vector<ScoreItemLayout> items;
  bool per_token = false;  // ScoredTokens are wanted
  experiment::RoutingChoice routing;
};

// Errors: INVALID_ARGUMENT with every violation; then FAILED_PRECONDITION (text
// without a tokenizer), PERMISSION_DENIED (inline policy), OUT_OF_RANGE (a
// continuation longer than the serving, an answer larger than max_response_bytes), and
// those of `interrupt`.
absl::StatusOr<ScoreInput> ParseScore(const v1::ScoreRequest& request,
                                      const experiment::Serving& serving,
                                      const Interrupt& interrupt = {});

// eos, or pad where eos lies outside the vocabulary, or 0 where both do.
TokenId PrefixToken(const model::ModelInfo& model);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_SCORE_REQUEST_H_
