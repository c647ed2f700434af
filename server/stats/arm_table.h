#ifndef OLMOE_SERVER_STATS_ARM_TABLE_H_
#define OLMOE_SERVER_STATS_ARM_TABLE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace olmoe::stats {

// Something per arm, for the arms used last: patches may name arms without end, and
// memory and series must not grow with them. Thread-compatible.
template <class T>
class ArmTable {
 public:
  explicit ArmTable(size_t max_arms) : max_arms_(max_arms) {}

  // The entry of `arm_id`, made where there is none; the arm used longest ago goes
  // when there are too many.
  T& Get(std::string_view arm_id) {
    auto found = arms_.find(arm_id);
    if (found == arms_.end()) {
      if (arms_.size() >= max_arms_) DropOldest();
      found = arms_.emplace(std::string(arm_id), Entry()).first;
    }
    found->second.last_used = ++clock_;
    return found->second.value;
  }

  // Calls visit(arm_id, value) in order of arm ids.
  template <class Visit>
  void ForEach(const Visit& visit) const {
    for (const auto& [arm_id, entry] : arms_) visit(arm_id, entry.value);
  }

 private:
  struct Entry {
    T value{};
    uint64_t last_used = 0;
  };

  void DropOldest() {
    arms_.erase(std::min_element(arms_.begin(), arms_.end(), [](const auto& a, const auto& b) {
      return a.second.last_used < b.second.last_used;
    }));
  }

  const size_t max_arms_;
  uint64_t clock_ = 0;
  std::map<std::string, Entry, std::less<>> arms_;
};

// More than a plan can have (--max-arms) and the reserved arms together: what is in use stays.
inline constexpr size_t kMaxArmsKept = 96;

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_ARM_TABLE_H_
