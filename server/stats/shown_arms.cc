#include "server/stats/shown_arms.h"

#include <utility>

namespace olmoe::stats {

void ArmRetirement::AddOthers(const std::map<std::string, uint64_t>& counted, ShownArms* shown) {
  const absl::Time now = now_();
  std::map<std::string, Arm> arms;
  absl::MutexLock lock(&mu_);
  for (const auto& [arm_id, count] : counted) {
    const auto known = arms_.find(arm_id);
    const bool idle =
        known != arms_.end() && known->second.counted == count && !shown->contains(arm_id);
    const absl::Time used = idle ? known->second.used : now;
    arms[arm_id] = {count, used};
    if (now - used < kGrace) shown->try_emplace(arm_id);
  }
  arms_ = std::move(arms);
}

}  // namespace olmoe::stats
