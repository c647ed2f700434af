#ifndef OLMOE_SERVER_ROUTING_MEMORY_PLAN_STORE_H_
#define OLMOE_SERVER_ROUTING_MEMORY_PLAN_STORE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/routing/plan_store.h"

namespace olmoe::routing {

// The history of a server without a state directory: it ends with the process.
// Thread-safe.
class MemoryPlanStore : public PlanStore {
 public:
  static constexpr size_t kMaxPlans = 1000;
  static constexpr size_t kMaxAnswers = 1000;

  absl::Status Append(const PlanChange& change) override;
  absl::Status SetExpireTime(uint64_t generation, absl::Time expire_time) override;
  absl::StatusOr<std::vector<PlanRecord>> List(uint64_t before, size_t limit) const override;
  absl::StatusOr<PlanRecord> Find(uint64_t generation) const override;
  absl::StatusOr<std::optional<KeptAnswer>> FindAnswer(std::string_view key) const override;
  absl::StatusOr<std::string> FileDigest() const override;

 private:
  void ForgetOldPlans() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable absl::Mutex mu_;
  std::map<uint64_t, PlanRecord> plans_ ABSL_GUARDED_BY(mu_);
  uint64_t newest_lasting_ ABSL_GUARDED_BY(mu_) = 0;  // without an expire_time; 0: none
  std::map<std::string, KeptAnswer, std::less<>> answers_ ABSL_GUARDED_BY(mu_);
  std::deque<std::string> answer_order_ ABSL_GUARDED_BY(mu_);  // keys, oldest first
  std::string file_digest_ ABSL_GUARDED_BY(mu_);
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_MEMORY_PLAN_STORE_H_
