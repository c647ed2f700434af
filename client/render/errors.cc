#include "client/render/errors.h"

#include <string_view>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/render/format.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/util/utf8.h"

namespace olmoe::client::render {
namespace {

google::rpc::Status ToProto(const absl::Status& status) {
  google::rpc::Status proto;
  proto.set_code(static_cast<int>(status.code()));
  proto.set_message(std::string(status.message()));
  status.ForEachPayload([&proto](absl::string_view type_url, const absl::Cord& value) {
    auto* detail = proto.add_details();
    detail->set_type_url(std::string(type_url));
    detail->set_value(std::string(value));
  });
  return proto;
}

// The lines that one detail adds to `message`; none where it cannot be read.
std::vector<std::string> Describe(const google::protobuf::Any& detail, const std::string& message) {
  std::vector<std::string> lines;
  google::rpc::BadRequest bad_request;
  google::rpc::PreconditionFailure precondition;
  google::rpc::ErrorInfo info;
  google::rpc::RetryInfo retry;
  if (detail.UnpackTo(&bad_request)) {
    for (const auto& violation : bad_request.field_violations()) {
      lines.push_back(absl::StrCat(violation.field(), ": ", violation.description()));
    }
  } else if (detail.UnpackTo(&precondition)) {
    for (const auto& violation : precondition.violations()) {
      const std::string what = absl::StrCat(violation.type(), " ", violation.subject());
      const bool is_told = absl::StrContains(message, violation.description());
      lines.push_back(is_told ? what : absl::StrCat(what, ": ", violation.description()));
    }
  } else if (detail.UnpackTo(&info)) {
    lines.push_back(absl::StrCat("reason ", info.reason()));
    for (const auto& [key, value] : info.metadata()) {
      absl::StrAppend(&lines.back(), ", ", key, " ", value);
    }
  } else if (detail.UnpackTo(&retry)) {
    lines.push_back(absl::StrCat("retry after ", FormatDuration(retry.retry_delay())));
  }
  return lines;
}

}  // namespace

std::string ErrorText(const absl::Status& status, const Style& style) {
  const std::string code = absl::StatusCodeToString(status.code());
  const std::string message = OneLine(std::string(status.message()));
  std::string text = absl::StrCat(style.Red("olmoectl: "), code, ": ", message, "\n");
  const google::rpc::Status proto = ToProto(status);
  for (const auto& detail : proto.details()) {
    for (const std::string& line : Describe(detail, message)) {
      if (absl::StrContains(message, line)) continue;
      absl::StrAppend(&text, "  ", OneLine(line), "\n");
    }
  }
  return text;
}

std::string ErrorJson(const absl::Status& status, const std::string& hint) {
  google::rpc::Status proto = ToProto(status);
  // A message may quote bytes of the command line.
  proto.set_message(LossyUtf8(absl::StrCat(proto.message(), hint.empty() ? "" : "; ", hint)));
  google::rpc::Status known = proto;
  known.clear_details();
  for (const auto& detail : proto.details()) {
    if (!Describe(detail, "").empty()) *known.add_details() = detail;
  }
  return ToJson(known, /*indent=*/false);
}

}  // namespace olmoe::client::render
