#include "server/completions/responses.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/completions/errors.h"

namespace olmoe::completions {

http::Response JsonResponse(int status, std::string body) {
  return http::TextResponse(status, std::move(body), kJsonType);
}

http::Response ErrorResponse(const absl::Status& status) {
  http::Response response = JsonResponse(HttpStatusOf(status), ErrorJson(status));
  if (const auto seconds = RetrySeconds(status)) {
    response.fields.emplace_back("Retry-After", absl::StrCat(*seconds));
  }
  return response;
}

http::Response RefusalJson(int status, std::string_view why) {
  if (why.empty()) why = http::ReasonOf(status);
  return JsonResponse(status, ErrorJson(status, why, "", ""));
}

}  // namespace olmoe::completions
