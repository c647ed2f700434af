// Checks of fields that several requests have.
#ifndef OLMOE_SERVER_API_REQUEST_FIELDS_H_
#define OLMOE_SERVER_API_REQUEST_FIELDS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "google/protobuf/repeated_field.h"
#include "olmoe/v1/inference.pb.h"
#include "server/api/request_errors.h"
#include "server/experiment/engine_request.h"
#include "server/experiment/serving.h"
#include "server/util/interrupt.h"
#include "server/util/token_id.h"

namespace olmoe::api {

inline constexpr uint32_t kMaxTopLogprobs = 20;

// At most 64 printable ASCII bytes; safe to log and to send back.
bool IsRequestId(std::string_view request_id);

// `request_id`, or a new one where it is empty.
std::string ParseRequestId(const std::string& request_id, RequestErrors* errors);

// Violations name the first few ids outside the vocabulary and count the rest.
std::vector<TokenId> ParseTokenIds(const google::protobuf::RepeatedField<uint32_t>& ids,
                                   const std::string& field, const experiment::Serving& serving,
                                   RequestErrors* errors);

// FAILED_PRECONDITION where the model has no tokenizer.
absl::Status RequireTokenizer(const experiment::Serving& serving, const std::string& field);

// Tokens of `text`; empty after an error, one of them `interrupt`'s.
std::vector<TokenId> EncodeText(std::string_view text, const std::string& field,
                                bool add_special_tokens, const experiment::Serving& serving,
                                RequestErrors* errors, const Interrupt& interrupt = {});

// OUT_OF_RANGE where the text of `ids` is larger than an answer may be. REQUIRES: a tokenizer.
absl::Status CheckTextFits(const std::vector<TokenId>& ids, const experiment::Serving& serving);

inline constexpr size_t kMaxUnitIdBytes = 256;

// Fields are named "routing..." and "unit_id".
experiment::RoutingChoice ParseRouting(const v1::RoutingSelector& selector,
                                       const std::string& unit_id,
                                       const experiment::Serving& serving, RequestErrors* errors);

// A replay must not have more positions than the request can have tokens: those of the prompt and
// max_new_tokens, or of context and continuation.
void CheckReplayFits(const v1::RoutingSelector& selector, size_t num_tokens,
                     const experiment::Serving& serving, RequestErrors* errors);

// Number of alternatives per token, 0..20.
int ParseTop(uint32_t top, const std::string& field, RequestErrors* errors);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_REQUEST_FIELDS_H_
