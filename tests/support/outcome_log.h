#ifndef OLMOE_TESTS_SUPPORT_OUTCOME_LOG_H_
#define OLMOE_TESTS_SUPPORT_OUTCOME_LOG_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/request_outcome.h"

namespace olmoe::testing {

// A copy of a RequestOutcome.
struct Outcome {
  std::string method, protocol, request_id, arm_id;
  absl::StatusCode code;
  bool reached_engine;
};

// What experiment::Serving::on_request_done was told. Thread-safe.
class OutcomeLog {
 public:
  void Add(const engine::RequestOutcome& outcome) {
    absl::MutexLock lock(&mu_);
    outcomes_.push_back({std::string(outcome.method), std::string(outcome.protocol),
                         outcome.request_id, outcome.arm_id, outcome.status.code(),
                         outcome.completion != nullptr});
  }
  // Waits until there are so many.
  void Await(size_t count) const {
    const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return outcomes_.size() >= count; };
    absl::MutexLock lock(&mu_, absl::Condition(&enough));
  }
  std::vector<Outcome> all() const {
    absl::MutexLock lock(&mu_);
    return outcomes_;
  }

 private:
  mutable absl::Mutex mu_;
  std::vector<Outcome> outcomes_ ABSL_GUARDED_BY(mu_);
};

}  // namespace olmoe::testing

#endif  // OLMOE_TESTS_SUPPORT_OUTCOME_LOG_H_
