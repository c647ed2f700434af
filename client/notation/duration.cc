#include "client/notation/duration.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace olmoe::client::notation {

absl::StatusOr<google::protobuf::Duration> ParseDuration(const std::string& text) {
  constexpr absl::Duration kLongest = absl::Hours(24 * 3653);
  absl::Duration value;
  double seconds = 0;
  if (absl::SimpleAtod(text, &seconds)) {
    value = absl::Seconds(seconds);  // NaN becomes an infinity, which is too long
  } else if (!absl::ParseDuration(text, &value)) {
    value = absl::InfiniteDuration();
  }
  if (value < absl::ZeroDuration() || value > kLongest) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is not a time such as 10m, 1h30m, 90s or 90"));
  }
  google::protobuf::Duration duration;
  duration.set_seconds(absl::ToInt64Seconds(value));
  duration.set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(value - absl::Seconds(duration.seconds()))));
  return duration;
}

std::string CheckDuration(const std::string& text) {
  const auto duration = ParseDuration(text);
  return duration.ok() ? "" : std::string(duration.status().message());
}

}  // namespace olmoe::client::notation
