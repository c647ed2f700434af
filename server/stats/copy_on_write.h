#ifndef OLMOE_SERVER_STATS_COPY_ON_WRITE_H_
#define OLMOE_SERVER_STATS_COPY_ON_WRITE_H_

#include <map>
#include <memory>
#include <string>

#include "server/stats/arm_table.h"

namespace olmoe::stats {

// A value that one owner changes and that readers get as it was: Share hands out the
// value itself, which nobody changes any more, and the owner's next change is made to a
// copy. So a reader holds the owner's mutex for the time of copying a pointer, whatever the
// size of the value, and the owner copies once per reading, and only what it changes.
// Whether a reader still has the value is not asked: counting references would need a
// barrier at every change. Thread-compatible; what was shared is immutable.
template <class T>
class CopyOnWrite {
 public:
  // Null where there has been no change yet.
  std::shared_ptr<const T> Share() const {
    shared_ = true;
    return value_;
  }

  T& Mutable() {
    if (value_ == nullptr) {
      value_ = std::make_shared<T>();
    } else if (shared_) {
      value_ = std::make_shared<T>(*value_);
    }
    shared_ = false;
    return *value_;
  }

  // As it is now, to look at; null as above.
  const T* get() const { return value_.get(); }

 private:
  mutable bool shared_ = false;
  std::shared_ptr<T> value_;
};

// All of a table at this moment, by arm.
template <class T>
std::map<std::string, std::shared_ptr<const T>> ShareAll(const ArmTable<CopyOnWrite<T>>& arms) {
  std::map<std::string, std::shared_ptr<const T>> shared;
  arms.ForEach([&shared](const std::string& arm_id, const CopyOnWrite<T>& value) {
    shared.emplace(arm_id, value.Share());
  });
  return shared;
}

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_COPY_ON_WRITE_H_
