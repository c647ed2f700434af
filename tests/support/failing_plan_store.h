#ifndef OLMOE_TESTS_SUPPORT_FAILING_PLAN_STORE_H_
#define OLMOE_TESTS_SUPPORT_FAILING_PLAN_STORE_H_

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/routing/plan_store.h"

namespace olmoe::testing {

// Another store with a disk that can be full, and a call around each change. Thread-safe
// where the functions are.
class FailingPlanStore : public routing::PlanStore {
 public:
  explicit FailingPlanStore(routing::PlanStore* store) : store_(store) {}

  void SetFull(bool full) { full_ = full; }
  std::function<void()> before_append = [] {};
  std::function<void()> after_append = [] {};

  absl::Status Append(const routing::PlanChange& change) override {
    if (full_) return Full();
    before_append();
    const absl::Status status = store_->Append(change);
    after_append();
    return status;
  }
  absl::Status SetExpireTime(uint64_t generation, absl::Time expire_time) override {
    return full_ ? Full() : store_->SetExpireTime(generation, expire_time);
  }
  absl::StatusOr<std::vector<routing::PlanRecord>> List(uint64_t before,
                                                        size_t limit) const override {
    return store_->List(before, limit);
  }
  absl::StatusOr<routing::PlanRecord> Find(uint64_t generation) const override {
    return store_->Find(generation);
  }
  absl::StatusOr<std::optional<routing::KeptAnswer>> FindAnswer(
      std::string_view key) const override {
    return store_->FindAnswer(key);
  }
  absl::StatusOr<std::string> FileDigest() const override { return store_->FileDigest(); }

 private:
  static absl::Status Full() { return absl::ResourceExhaustedError("the fake disk is full"); }

  routing::PlanStore* const store_;
  std::atomic<bool> full_ = false;
};

}  // namespace olmoe::testing

#endif  // OLMOE_TESTS_SUPPORT_FAILING_PLAN_STORE_H_
