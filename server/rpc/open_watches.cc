#include "server/rpc/open_watches.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/util/status_details.h"

namespace olmoe::rpc {

absl::StatusOr<uint64_t> OpenWatches::Add(std::function<void()> end) {
  absl::MutexLock lock(&mu_);
  if (ended_) return absl::UnavailableError("the server is draining");
  if (ends_.size() >= max_watches_) {
    return WithRetryDelay(
        absl::ResourceExhaustedError(absl::StrCat(max_watches_, " watches are open already")),
        absl::Seconds(10));
  }
  ends_.emplace(++last_id_, std::move(end));
  return last_id_;
}

void OpenWatches::Remove(uint64_t id) {
  absl::MutexLock lock(&mu_);
  ends_.erase(id);
}

void OpenWatches::EndAll() {
  std::map<uint64_t, std::function<void()>> ends;
  {
    absl::MutexLock lock(&mu_);
    ended_ = true;
    ends.swap(ends_);
  }
  for (const auto& [id, end] : ends) end();
}

}  // namespace olmoe::rpc
