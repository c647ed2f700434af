#ifndef OLMOE_SERVER_API_GENERATE_REQUEST_H_
#define OLMOE_SERVER_API_GENERATE_REQUEST_H_

#include <string>

#include "absl/status/statusor.h"
#include "olmoe/v1/inference.pb.h"
#include "server/engine/request.h"
#include "server/experiment/engine_request.h"
#include "server/experiment/serving.h"
#include "server/util/interrupt.h"

namespace olmoe::api {

// A GenerateRequest with every field checked and its text tokenized.
struct GenerateInput {
  std::string request_id;
  engine::GenerateWork work;
  experiment::RoutingChoice routing;
};

// Errors: INVALID_ARGUMENT with every violation; then FAILED_PRECONDITION (text
// without a tokenizer), PERMISSION_DENIED (inline policy), OUT_OF_RANGE (serving), and those
// of `interrupt`.
absl::StatusOr<GenerateInput> ParseGenerate(const v1::GenerateRequest& request,
                                            const experiment::Serving& serving,
                                            const Interrupt& interrupt = {});

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_GENERATE_REQUEST_H_
