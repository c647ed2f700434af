#ifndef OLMOE_CLIENT_NOTATION_DURATION_H_
#define OLMOE_CLIENT_NOTATION_DURATION_H_

#include <string>

#include "absl/status/statusor.h"
#include "google/protobuf/duration.pb.h"

namespace olmoe::client::notation {

// "10m", "1h30m", "90s", "250ms", or a number of seconds: from 0 to 10 years.
// INVALID_ARGUMENT for anything else.
absl::StatusOr<google::protobuf::Duration> ParseDuration(const std::string& text);

// For ->check() of a flag: what is wrong, or nothing.
std::string CheckDuration(const std::string& text);

}  // namespace olmoe::client::notation

#endif  // OLMOE_CLIENT_NOTATION_DURATION_H_
