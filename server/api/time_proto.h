// Times <-> google.protobuf.
#ifndef OLMOE_SERVER_API_TIME_PROTO_H_
#define OLMOE_SERVER_API_TIME_PROTO_H_

#include <optional>

#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace olmoe::api {

google::protobuf::Timestamp ToProto(absl::Time time);
google::protobuf::Duration ToProto(absl::Duration duration);
absl::Time FromProto(const google::protobuf::Timestamp& time);
// nullopt for a malformed or negative duration.
std::optional<absl::Duration> FromProto(const google::protobuf::Duration& duration);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_TIME_PROTO_H_
