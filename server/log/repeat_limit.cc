#include "server/log/repeat_limit.h"

namespace olmoe::log {

bool RepeatLimit::Allow(const std::string& key, absl::Time now) {
  Period& period = periods_.try_emplace(key, Period{now + options_.period, 0}).first->second;
  return ++period.events <= options_.max_per_period;
}

std::vector<std::pair<std::string, uint64_t>> RepeatLimit::TakeOver(absl::Time now) {
  std::vector<std::pair<std::string, uint64_t>> out;
  std::erase_if(periods_, [&](const auto& entry) {
    const auto& [key, period] = entry;
    if (period.end > now) return false;
    if (period.events > options_.max_per_period) {
      out.emplace_back(key, period.events - options_.max_per_period);
    }
    return true;
  });
  return out;
}

}  // namespace olmoe::log
