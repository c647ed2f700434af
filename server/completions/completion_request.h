#ifndef OLMOE_SERVER_COMPLETIONS_COMPLETION_REQUEST_H_
#define OLMOE_SERVER_COMPLETIONS_COMPLETION_REQUEST_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "olmoe/v1/inference.pb.h"
#include "server/engine/request.h"
#include "server/experiment/engine_request.h"
#include "server/experiment/serving.h"
#include "server/util/interrupt.h"

namespace olmoe::completions {

// Prompts of one call; their completions have consecutive indices.
inline constexpr size_t kMaxPrompts = 256;

// A body of POST /v1/completions, with every field checked and its text tokenized.
struct CompletionRequest {
  std::string request_id;
  std::optional<std::string> arm_of_model;  // of "ID@ARM"
  bool stream = false;
  bool include_usage = false;
  bool echo = false;
  bool logprobs = false;
  bool routed_experts = false;
  bool token_ids = false;  // of prompts and completions are wanted
  std::vector<engine::GenerateWork> prompts;  // not empty; alike but for the prompt
  experiment::RoutingChoice routing;          // of all of them
};

// Errors: INVALID_ARGUMENT naming each field of the JSON that is wrong; NOT_FOUND (model); and
// those of api::ParseGenerate.
absl::StatusOr<CompletionRequest> ParseCompletion(std::string_view body,
                                                  const experiment::Serving& serving,
                                                  const Interrupt& interrupt = {});

// The arm in a model's name, "ID@ARM"; none in the name alone, or without a name. Errors:
// NOT_FOUND for another model.
absl::StatusOr<std::optional<std::string>> ArmOfModel(std::string_view model,
                                                      const experiment::Serving& serving);

}  // namespace olmoe::completions

#endif  // OLMOE_SERVER_COMPLETIONS_COMPLETION_REQUEST_H_
