#ifndef OLMOE_SERVER_RPC_OPEN_WATCHES_H_
#define OLMOE_SERVER_RPC_OPEN_WATCHES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace olmoe::rpc {

// Streams that have no end of their own: a bounded number, and told when the server
// drains. Thread-safe.
class OpenWatches {
 public:
  explicit OpenWatches(size_t max_watches = 64) : max_watches_(max_watches) {}

  // `end` is called at most once, on the thread that drains and without a lock held; also
  // after Remove, where that comes at the same time. Must not block. Errors: UNAVAILABLE
  // once the server drains, RESOURCE_EXHAUSTED with RetryInfo for one too many.
  absl::StatusOr<uint64_t> Add(std::function<void()> end);
  // An unknown id is ignored.
  void Remove(uint64_t id);
  // The server drains: ends all, and every one that would come.
  void EndAll();

 private:
  const size_t max_watches_;
  absl::Mutex mu_;
  std::map<uint64_t, std::function<void()>> ends_ ABSL_GUARDED_BY(mu_);
  uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_OPEN_WATCHES_H_
