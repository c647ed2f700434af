#ifndef OLMOE_SERVER_ROUTING_LISTENERS_H_
#define OLMOE_SERVER_ROUTING_LISTENERS_H_

#include <cstdint>
#include <functional>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace olmoe::routing {

// Functions that want to know that something has changed; they look for themselves at
// what. Called on whatever thread changed it, without a lock held: a function may still
// be running, or be called once more, when its Remove returns. Thread-safe.
class Listeners {
 public:
  uint64_t Add(std::function<void()> listener);
  void Remove(uint64_t id);
  void Notify() const;

 private:
  mutable absl::Mutex mu_;
  uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<uint64_t, std::function<void()>> listeners_ ABSL_GUARDED_BY(mu_);
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_LISTENERS_H_
