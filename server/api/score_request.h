#ifndef OLMOE_SERVER_API_SCORE_REQUEST_H_
#define OLMOE_SERVER_API_SCORE_REQUEST_H_

#include <cstddef>
#include <cstdint>
#include <span>
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
  std::string error = {};   // why the item has no windows; empty where it has some
};

// INVALID_ARGUMENT naming the continuations of all items that have no windows; OK for none.
absl::Status MergedContinuations(std::span<const ScoreItemLayout> items, size_t first_index = 0);

// A ScoreRequest with every field checked, tokenized and cut into windows.
struct ScoreInput {
  std::string request_id;
  engine::ScoreWork work;
  std::vector<ScoreItemLayout> items;
  bool per_token = false;  // ScoredTokens are wanted
  experiment::RoutingChoice routing;
};

// An item of texts whose continuation merges into the context has no windows; the others go on.
//
// Errors: INVALID_ARGUMENT with every violation, or where no item has windows; then FAILED_PRECONDITION (text
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
