#include "server/routing/memory_plan_store.h"

#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace olmoe::routing {
namespace {

absl::Status NoSuchPlan(uint64_t generation) {
  return absl::NotFoundError(absl::StrCat("no plan of generation ", generation, " is kept"));
}

}  // namespace

absl::Status MemoryPlanStore::Append(const PlanChange& change) {
  absl::MutexLock lock(&mu_);
  if (change.plan) {
    const uint64_t generation = change.plan->generation;
    plans_[generation] = *change.plan;
    if (!change.plan->has_ttl()) newest_lasting_ = generation;
    ForgetOldPlans();
  }
  if (change.file_digest) file_digest_ = *change.file_digest;
  if (change.answer && answers_.insert_or_assign(change.answer->key, *change.answer).second) {
    answer_order_.push_back(change.answer->key);
    if (answer_order_.size() > kMaxAnswers) {
      answers_.erase(answer_order_.front());
      answer_order_.pop_front();
    }
  }
  return absl::OkStatus();
}

void MemoryPlanStore::ForgetOldPlans() {
  auto oldest = plans_.begin();
  while (plans_.size() > kMaxPlans) {
    if (oldest->first == newest_lasting_) {
      ++oldest;
    } else {
      oldest = plans_.erase(oldest);
    }
  }
}

absl::Status MemoryPlanStore::SetExpireTime(uint64_t generation, absl::Time expire_time) {
  absl::MutexLock lock(&mu_);
  const auto found = plans_.find(generation);
  if (found == plans_.end()) return NoSuchPlan(generation);
  found->second.expire_time = expire_time;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<PlanRecord>> MemoryPlanStore::List(uint64_t before, size_t limit) const {
  absl::MutexLock lock(&mu_);
  std::vector<PlanRecord> records;
  for (auto end = std::make_reverse_iterator(plans_.lower_bound(before));
       end != plans_.rend() && records.size() < limit; ++end) {
    records.push_back(end->second);
  }
  return records;
}

absl::StatusOr<PlanRecord> MemoryPlanStore::Find(uint64_t generation) const {
  absl::MutexLock lock(&mu_);
  const auto found = plans_.find(generation);
  if (found == plans_.end()) return NoSuchPlan(generation);
  return found->second;
}

absl::StatusOr<std::optional<KeptAnswer>> MemoryPlanStore::FindAnswer(std::string_view key) const {
  absl::MutexLock lock(&mu_);
  const auto found = answers_.find(key);
  if (found == answers_.end()) return std::optional<KeptAnswer>();
  return std::optional<KeptAnswer>(found->second);
}

absl::StatusOr<std::string> MemoryPlanStore::FileDigest() const {
  absl::MutexLock lock(&mu_);
  return file_digest_;
}

}  // namespace olmoe::routing
