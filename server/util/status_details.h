// absl::Status with google.rpc details. A detail is kept as a Status payload
// under its type URL, so it travels through layers that know no gRPC; rpc/ packs
// all payloads of a Status into `grpc-status-details-bin`.
#ifndef OLMOE_SERVER_UTIL_STATUS_DETAILS_H_
#define OLMOE_SERVER_UTIL_STATUS_DETAILS_H_

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace olmoe {

// One offending field of a request or a file.
struct FieldViolation {
  std::string field;        // "plan.arms[1].policy.apply.bh.alpha"
  std::string description;  // "must be > 0 and <= 1, is 1.5"
};

// Returns INVALID_ARGUMENT with google.rpc.BadRequest; the message lists every violation.
// REQUIRES: `violations` is not empty.
absl::Status InvalidFields(const std::vector<FieldViolation>& violations);

// Adds google.rpc.RetryInfo; leaves an OK status as it is.
absl::Status WithRetryDelay(absl::Status status, absl::Duration delay);

// Adds google.rpc.ErrorInfo with domain "olmoe"; leaves an OK status as it is.
absl::Status WithErrorInfo(absl::Status status, std::string_view reason,
                           const std::map<std::string, std::string>& metadata = {});

// Adds google.rpc.PreconditionFailure with one violation; leaves an OK status as it is.
absl::Status WithPrecondition(absl::Status status, std::string_view type, std::string_view subject);

// The detail of a type of google.rpc, such as RetryInfo, in `status`; nullopt where it has none.
template <class Detail>
std::optional<Detail> DetailOf(const absl::Status& status) {
  const auto payload =
      status.GetPayload(absl::StrCat("type.googleapis.com/", Detail::descriptor()->full_name()));
  Detail detail;
  if (!payload.has_value() || !detail.ParseFromString(std::string(*payload))) return std::nullopt;
  return detail;
}

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_STATUS_DETAILS_H_
