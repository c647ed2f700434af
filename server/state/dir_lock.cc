#include "server/state/dir_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace olmoe::state {
namespace {

// The number in the file, for a message; empty where there is none.
std::string Holder(int fd) {
  char text[32] = {};
  if (pread(fd, text, sizeof(text) - 1, 0) <= 0) return "";
  return absl::StrCat(" (process ", std::string(text, strspn(text, "0123456789")), ")");
}

}  // namespace

absl::StatusOr<std::unique_ptr<DirLock>> DirLock::Acquire(const std::string& dir) {
  const std::string path = dir + "/lock";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
  std::unique_ptr<DirLock> lock(new DirLock(fd));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(dir, " is used by another server", Holder(fd)));
  }
  // For the message above only: a disk that is full does not matter here.
  const std::string process = absl::StrCat(getpid(), "\n");
  if (ftruncate(fd, 0) == 0) {
    [[maybe_unused]] const ssize_t written = pwrite(fd, process.data(), process.size(), 0);
  }
  return lock;
}

DirLock::~DirLock() { close(fd_); }

}  // namespace olmoe::state
