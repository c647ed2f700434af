// Which arms /metrics tells about.
#ifndef OLMOE_SERVER_STATS_SHOWN_ARMS_H_
#define OLMOE_SERVER_STATS_SHOWN_ARMS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace olmoe::stats {

struct ShownArm {
  bool in_plan = false;   // of the current plan
  bool analyzes = false;  // its policy in that plan does
  int running = 0;        // requests that hold a slot
};
// Each has its series in every family, of zeros before anything is counted: a rate over
// series that begin with their first event would miss that event.
using ShownArms = std::map<std::string, ShownArm>;

// Ends the series of arms that are gone: an arm that is not in the plan, that no request
// holds and that has counted nothing for kGrace is not shown any more. The grace is for
// scrapers, which must see the last counts; it begins with the last scrape that saw the arm
// in use or with new counts, so these are shown however rarely somebody scrapes. Only what
// is shown ends: counts stay, so an arm that comes back goes on where it was. Thread-safe.
class ArmRetirement {
 public:
  static constexpr absl::Duration kGrace = absl::Minutes(5);

  explicit ArmRetirement(std::function<absl::Time()> now) : now_(std::move(now)) {}

  // Adds to `shown`, which holds the arms of the plan and of requests, those that have
  // counts and are not retired. `counted`: per arm a number that grows with every count.
  void AddOthers(const std::map<std::string, uint64_t>& counted, ShownArms* shown);

 private:
  struct Arm {
    uint64_t counted = 0;
    absl::Time used;  // when a scrape last saw it in use
  };

  const std::function<absl::Time()> now_;
  absl::Mutex mu_;
  std::map<std::string, Arm> arms_ ABSL_GUARDED_BY(mu_);  // those that had counts last time
};

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_SHOWN_ARMS_H_
