#include "client/transport/grpc_status.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"

namespace olmoe::client::transport {

absl::Status WithDetails(int code, const std::string& message, const google::rpc::Status& from) {
  absl::Status status(static_cast<absl::StatusCode>(code), message);
  for (const auto& detail : from.details()) {
    status.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return status;
}

absl::Status FromGrpc(const grpc::Status& status, const std::string& peer) {
  if (status.ok()) return absl::OkStatus();
  std::string message = status.error_message();
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    message = absl::StrCat(peer, ": ", message);
  }
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) details.Clear();
  return WithDetails(status.error_code(), message, details);
}

}  // namespace olmoe::client::transport
