#ifndef OLMOE_SERVER_LOG_REPEAT_LIMIT_H_
#define OLMOE_SERVER_LOG_REPEAT_LIMIT_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace olmoe::log {

// Lets the first few events of each kind in each period through and counts the rest, so
// that what a client can repeat without end cannot fill a log. A period begins with the
// first event of its kind. Keys must be few: status codes. Thread-compatible.
class RepeatLimit {
 public:
  struct Options {
    uint64_t max_per_period = 10;
    absl::Duration period = absl::Seconds(10);
  };
  explicit RepeatLimit(Options options) : options_(options) {}

  // False: one event of `key` more that is held back. Ask for what earlier periods held
  // back (TakeOver) first.
  bool Allow(const std::string& key, absl::Time now);

  // (key, number) of the events held back in periods that are over at `now`; these periods
  // are forgotten.
  std::vector<std::pair<std::string, uint64_t>> TakeOver(absl::Time now);

 private:
  struct Period {
    absl::Time end;
    uint64_t events = 0;
  };

  const Options options_;
  std::map<std::string, Period> periods_;
};

}  // namespace olmoe::log

#endif  // OLMOE_SERVER_LOG_REPEAT_LIMIT_H_
