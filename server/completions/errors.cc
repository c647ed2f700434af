#include "server/completions/errors.h"

#include <cmath>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "server/completions/json_writer.h"

namespace olmoe::completions {
namespace {

const char* TypeOf(int http_status) {
  switch (http_status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    default: return http_status < 500 ? "invalid_request_error" : "server_error";
  }
}

// What a field of GenerateRequest is called in JSON, up to the first of ".[".
std::string JsonFieldOf(std::string_view field) {
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"text", "prompt"},
      {"tokens.ids", "prompt"},
      {"tokens", "prompt"},
      {"max_new_tokens", "max_tokens"},
      {"unit_id", "user"},
      {"prompt_logprobs", "logprobs"},
      {"include_stop", "include_stop_str_in_output"},
      {"trace", "return_routed_experts"},
      {"routing.arm_id", "routing.arm"}};
  constexpr std::string_view kSampling = "sampling.";
  if (field.starts_with(kSampling)) return std::string(field.substr(kSampling.size()));
  for (const auto& [message, json] : kNames) {
    if (!field.starts_with(message)) continue;
    const std::string_view rest = field.substr(message.size());
    if (rest.empty() || rest[0] == '[' || rest[0] == '.') {
      return absl::StrCat(std::string(json), std::string(rest));
    }
  }
  return std::string(field);
}

}  // namespace

int HttpStatusOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition: return 400;
    case absl::StatusCode::kUnauthenticated: return 401;
    case absl::StatusCode::kPermissionDenied: return 403;
    case absl::StatusCode::kNotFound: return 404;
    // What could never be served is the request's fault; clients try 429 again.
    case absl::StatusCode::kResourceExhausted: return IsWorthWaiting(status) ? 429 : 400;
    case absl::StatusCode::kUnavailable: return 503;
    case absl::StatusCode::kDeadlineExceeded: return 504;
    case absl::StatusCode::kUnimplemented: return 404;
    default: return 500;
  }
}

std::string ErrorJson(int http_status, std::string_view message, std::string_view param,
                      std::string_view code) {
  JsonWriter json;
  json.BeginObject().Key("error").BeginObject().Key("message").String(message);
  json.Key("type").String(TypeOf(http_status)).Key("param");
  param.empty() ? json.Null() : json.String(param);
  json.Key("code");
  code.empty() ? json.Null() : json.String(code);
  return json.EndObject().EndObject().Take();
}

bool IsWorthWaiting(const absl::Status& status) {
  return absl::IsResourceExhausted(status) && DetailOf<google::rpc::RetryInfo>(status).has_value();
}

std::string ErrorJson(const absl::Status& status) {
  std::string param, code;
  if (const auto bad = DetailOf<google::rpc::BadRequest>(status);
      bad && bad->field_violations_size() > 0) {
    param = bad->field_violations(0).field();
  }
  if (const auto info = DetailOf<google::rpc::ErrorInfo>(status)) {
    code = absl::AsciiStrToLower(info->reason());
  }
  if (code == "context_length_exceeded") param = "prompt";
  if (code.empty() && IsWorthWaiting(status)) code = "rate_limit_exceeded";
  return ErrorJson(HttpStatusOf(status), std::string(status.message()), param, code);
}

std::optional<int64_t> RetrySeconds(const absl::Status& status) {
  const auto retry = DetailOf<google::rpc::RetryInfo>(status);
  if (!retry) return std::nullopt;
  return retry->retry_delay().seconds() + (retry->retry_delay().nanos() > 0 ? 1 : 0);
}

absl::Status FieldError(std::string_view field, std::string_view description) {
  return InvalidFields({{std::string(field), std::string(description)}});
}

FieldViolation ViolationOf(std::string_view name, const absl::Status& mistake) {
  const std::string message(mistake.message());
  const size_t colon = message.starts_with(name) ? message.find(": ") : std::string::npos;
  if (colon == std::string::npos) return {std::string(name), message};
  return {message.substr(0, colon), message.substr(colon + 2)};
}

absl::Status WithJsonFields(const absl::Status& status, std::optional<size_t> prompt) {
  const auto bad = DetailOf<google::rpc::BadRequest>(status);
  if (!absl::IsInvalidArgument(status) || !bad || bad->field_violations_size() == 0) return status;
  std::vector<FieldViolation> violations;
  for (const auto& violation : bad->field_violations()) {
    std::string field = JsonFieldOf(violation.field());
    constexpr std::string_view kPrompt = "prompt";
    if (prompt && field.starts_with(kPrompt)) {
      field.insert(kPrompt.size(), absl::StrCat("[", *prompt, "]"));
    }
    violations.push_back({std::move(field), violation.description()});
  }
  return InvalidFields(violations);
}

absl::Status ModelNotFound(std::string_view model) {
  constexpr size_t kMaxShownBytes = 100;
  return WithErrorInfo(
      absl::NotFoundError(absl::StrCat("this server has no model \"",
                                       std::string(model.substr(0, kMaxShownBytes)),
                                       "\": GET /v1/models lists those that it has")),
      "MODEL_NOT_FOUND");
}

}  // namespace olmoe::completions
