#ifndef OLMOE_SERVER_STATE_DIR_LOCK_H_
#define OLMOE_SERVER_STATE_DIR_LOCK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace olmoe::state {

// Keeps a second server out of a directory. The kernel lets go of the lock when the
// process ends, however it ends. Immutable: thread-safe.
class DirLock {
 public:
  // FAILED_PRECONDITION where another one holds it, with the process id of its holder.
  static absl::StatusOr<std::unique_ptr<DirLock>> Acquire(const std::string& dir);
  ~DirLock();
  DirLock(const DirLock&) = delete;
  DirLock& operator=(const DirLock&) = delete;

 private:
  explicit DirLock(int fd) : fd_(fd) {}
  const int fd_;  // of DIR/lock, which stays
};

}  // namespace olmoe::state

#endif  // OLMOE_SERVER_STATE_DIR_LOCK_H_
