#include "client/commands/wait_flag.h"

#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/strings/numbers.h"
#include "glog/logging.h"
#include "google/protobuf/util/time_util.h"

namespace olmoe::client::commands {
namespace {

constexpr double kMaxSeconds = 86400;

// For ->check(): why `text` is no time to wait, or nothing.
std::string CheckSeconds(const std::string& text) {
  double seconds = 0;
  const bool valid = absl::SimpleAtod(text, &seconds) && seconds >= 0 && seconds <= kMaxSeconds;
  return valid ? "" : text + " is not a number of seconds from 0 to 86400";
}

}  // namespace

void AddWaitFlag(CLI::App& command, std::string& value) {
  command
      .add_flag("--wait{60}", value,
                "Wait until no request uses an older plan; --wait=SECONDS, 60 without")
      ->check(CheckSeconds);
}

google::protobuf::Duration WaitDuration(const std::string& value) {
  double seconds = 0;
  CHECK(absl::SimpleAtod(value, &seconds));
  return google::protobuf::util::TimeUtil::MillisecondsToDuration(
      static_cast<int64_t>(seconds * 1e3));
}

}  // namespace olmoe::client::commands
