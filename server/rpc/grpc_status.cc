#include "server/rpc/grpc_status.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/api/conversions.h"

namespace olmoe::rpc {
namespace {

// Together, in base64 and with the message sent twice, below 8 KiB.
constexpr size_t kMaxMessageBytes = 512;
constexpr size_t kMaxDetailBytes = 3072;

// At most `max_bytes` of `text`, whole UTF-8 characters, with "..." where it was cut.
std::string Shortened(const std::string& text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  size_t end = max_bytes - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

// The first violations that fit, and how many more there are.
google::rpc::BadRequest Shortened(const google::rpc::BadRequest& full, size_t max_bytes) {
  google::rpc::BadRequest kept;
  size_t bytes = 0;
  for (const auto& violation : full.field_violations()) {
    bytes += violation.ByteSizeLong() + 4;
    if (bytes > max_bytes) break;
    *kept.add_field_violations() = violation;
  }
  auto* rest = kept.add_field_violations();
  rest->set_description(absl::StrCat(
      "and ", full.field_violations_size() - (kept.field_violations_size() - 1), " more"));
  return kept;
}

// Cuts `detail` down to kMaxDetailBytes; false where it has to be left out.
bool Shorten(google::protobuf::Any* detail) {
  if (detail->value().size() <= kMaxDetailBytes) return true;
  google::rpc::BadRequest bad_request;
  if (!detail->UnpackTo(&bad_request)) return false;
  constexpr size_t kRoomForTheRest = 64;
  detail->PackFrom(Shortened(bad_request, kMaxDetailBytes - kRoomForTheRest));
  return true;
}

google::rpc::Status ForTrailers(const google::rpc::Status& full) {
  google::rpc::Status kept;
  kept.set_code(full.code());
  kept.set_message(Shortened(full.message(), kMaxMessageBytes));
  size_t bytes = 0;
  for (google::protobuf::Any detail : full.details()) {
    if (!Shorten(&detail)) continue;
    bytes += detail.value().size();
    if (bytes <= kMaxDetailBytes) *kept.add_details() = std::move(detail);
  }
  return kept;
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status kept = ForTrailers(api::ToRpcStatus(status));
  // gRPC sends a third argument that is not empty as grpc-status-details-bin.
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), kept.message(),
                      kept.details_size() == 0 ? std::string() : kept.SerializeAsString());
}

}  // namespace olmoe::rpc
