#include "server/api/request_errors.h"

#include <utility>

#include "google/rpc/error_details.pb.h"

namespace olmoe::api {

void RequestErrors::Add(std::string field, std::string description) {
  violations_.push_back({std::move(field), std::move(description)});
  ++num_added_;
}

void RequestErrors::Add(const absl::Status& status) {
  if (status.ok()) return;
  const auto bad_request = DetailOf<google::rpc::BadRequest>(status);
  if (absl::IsInvalidArgument(status) && bad_request) {
    for (const auto& violation : bad_request->field_violations()) {
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
