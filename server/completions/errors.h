// Errors as clients of OpenAI's API expect them: {"error": {message, type, param, code}}.
#ifndef OLMOE_SERVER_COMPLETIONS_ERRORS_H_
#define OLMOE_SERVER_COMPLETIONS_ERRORS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/util/status_details.h"

namespace olmoe::completions {

// The error as an object of JSON. `param` is the field that is to blame, by its name in JSON.
std::string ErrorJson(const absl::Status& status);
std::string ErrorJson(int http_status, std::string_view message, std::string_view param,
                      std::string_view code);
int HttpStatusOf(const absl::Status& status);
// When to come back; unset where coming back would not help.
std::optional<int64_t> RetrySeconds(const absl::Status& status);

// INVALID_ARGUMENT that names a field of the JSON.
absl::Status FieldError(std::string_view field, std::string_view description);
// A mistake that a JsonCursor met in field `name`: "prompt[3]: must be a string" names a part of it.
FieldViolation ViolationOf(std::string_view name, const absl::Status& mistake);
// The error of a check of the request's message, with fields as the JSON has them: "max_new_tokens"
// is max_tokens, and those of a prompt in a list have its index. Others stay as they are.
absl::Status WithJsonFields(const absl::Status& status, std::optional<size_t> prompt);
// NOT_FOUND with the code that clients look for.
absl::Status ModelNotFound(std::string_view model);

// Whether it would not be an error later: the queue or the memory is full.
bool IsWorthWaiting(const absl::Status& status);

}  // namespace olmoe::completions

#endif  // OLMOE_SERVER_COMPLETIONS_ERRORS_H_
