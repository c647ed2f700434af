#include "server/routing/listeners.h"

#include <utility>
#include <vector>

namespace olmoe::routing {

uint64_t Listeners::Add(std::function<void()> listener) {
  absl::MutexLock lock(&mu_);
  listeners_[++last_id_] = std::move(listener);
  return last_id_;
}

void Listeners::Remove(uint64_t id) {
  std::function<void()> removed;  // destroyed after the lock is released
  absl::MutexLock lock(&mu_);
  const auto found = listeners_.find(id);
  if (found == listeners_.end()) return;
  removed = std::move(found->second);
  listeners_.erase(found);
}

void Listeners::Notify() const {
  std::vector<std::function<void()>> called;
  {
    absl::MutexLock lock(&mu_);
    if (listeners_.empty()) return;
    called.reserve(listeners_.size());
    for (const auto& [id, listener] : listeners_) called.push_back(listener);
  }
  for (const auto& listener : called) listener();
}

}  // namespace olmoe::routing
