#include "server/state/generation_mark.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace olmoe::state {
namespace {

absl::Status Problem(const std::string& path) {
  return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
}

absl::Status WriteDurably(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return Problem(path);
  const absl::Cleanup close_file = [fd] { close(fd); };
  errno = ENOSPC;  // what a write that is cut short means
  if (write(fd, text.data(), text.size()) != std::ssize(text) || fsync(fd) != 0) {
    return Problem(path);
  }
  return absl::OkStatus();
}

}  // namespace

GenerationMark::GenerationMark(std::string path) : path_(std::move(path)) {
  const int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return;
  char text[32];
  const ssize_t bytes = fd < 0 ? -1 : read(fd, text, sizeof(text));
  if (fd >= 0) close(fd);
  if (bytes > 0 && absl::SimpleAtoi(std::string(text, static_cast<size_t>(bytes)), &generation_)) {
    return;
  }
  generation_ = 0;
  LOG(WARNING) << path_ << " is not readable: whether the state is the newest is not checked";
}

// The name need not be durable at once: after a loss of power the file may be the one
// before, whose generation is lower, and the next fsync on the disk brings it along.
absl::Status GenerationMark::Raise(uint64_t generation) {
  if (generation <= generation_) return absl::OkStatus();
  const std::string unfinished = path_ + ".tmp";
  const absl::Status status = WriteDurably(unfinished, absl::StrCat(generation, "\n"));
  if (!status.ok()) return status;
  if (std::rename(unfinished.c_str(), path_.c_str()) != 0) return Problem(path_);
  generation_ = generation;
  return absl::OkStatus();
}

}  // namespace olmoe::state
