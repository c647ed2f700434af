#include "server/api/request_errors.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/types/optional.h"
#include "google/rpc/error_details.pb.h"

namespace olmoe::api {
namespace {

constexpr char kBadRequestUrl[] = "type.googleapis.com/google.rpc.BadRequest";

}  // namespace

void RequestErrors::Add(std::string field, std::string description) {
  violations_.push_back({std::move(field), std::move(description)});
  ++num_added_;
}

void RequestErrors::Add(const absl::Status& status) {
  if (status.ok()) return;
  const absl::optional<absl::Cord> payload = status.GetPayload(kBadRequestUrl);
  google::rpc::BadRequest bad_request;
  if (absl::IsInvalidArgument(status) && payload.has_value() &&
      bad_request.ParseFromString(std::string(*payload))) {
    for (const auto& violation : bad_request.field_violations()) {
      Add(violation.field(), violation.description());
    }
    return;
  }
  if (other_.ok()) other_ = status;
  ++num_added_;
}

absl::Status RequestErrors::ToStatus() const {
  return violations_.empty() ? other_ : InvalidFields(violations_);
}

}  // namespace olmoe::api
