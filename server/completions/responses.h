#ifndef OLMOE_SERVER_COMPLETIONS_RESPONSES_H_
#define OLMOE_SERVER_COMPLETIONS_RESPONSES_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/http/message.h"

namespace olmoe::completions {

inline constexpr char kJsonType[] = "application/json";

http::Response JsonResponse(int status, std::string body);
// With Retry-After where waiting would help.
http::Response ErrorResponse(const absl::Status& status);
// What the HTTP server itself refuses (http::Refusal).
http::Response RefusalJson(int status, std::string_view why);

}  // namespace olmoe::completions

#endif  // OLMOE_SERVER_COMPLETIONS_RESPONSES_H_
