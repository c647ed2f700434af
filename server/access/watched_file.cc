#include "server/access/watched_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "glog/logging.h"

namespace olmoe::access {
namespace {

// Bundles of all public authorities have about 250 KB.
constexpr size_t kMaxBytes = 1 << 20;
// Far above the tick of any kernel's file times.
constexpr absl::Duration kSettled = absl::Seconds(1);

// Reads on until the end, or past kMaxBytes; errno where reading fails, else 0.
int ReadAll(int fd, std::string* content) {
  char buffer[16 << 10];
  while (content->size() <= kMaxBytes) {
    const ssize_t bytes = read(fd, buffer, sizeof buffer);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return errno;
    if (bytes == 0) break;
    content->append(buffer, static_cast<size_t>(bytes));
  }
  return 0;
}

bool IsSettled(const struct stat& info) {
  const absl::Time changed = absl::TimeFromTimespec(info.st_ctim);
  return absl::Now() - changed > kSettled;
}

}  // namespace

WatchedFile::Stamp WatchedFile::StampOf(const struct stat& info) {
  return {0,
          info.st_dev,
          info.st_ino,
          info.st_size,
          info.st_mtim.tv_sec,
          info.st_mtim.tv_nsec,
          info.st_ctim.tv_sec,
          info.st_ctim.tv_nsec};
}

WatchedFile::Stamp WatchedFile::NoFile(int error) { return {error, 0, 0, 0, 0, 0, 0, 0}; }

bool WatchedFile::MayHaveChanged() const {
  if (path_.empty()) return false;
  struct stat info;
  const Stamp now = stat(path_.c_str(), &info) == 0 ? StampOf(info) : NoFile(errno);
  return now != stamp_ || !settled_;
}

absl::StatusOr<std::string> WatchedFile::Read() {
  if (path_.empty()) return std::string();
  settled_ = true;
  // Without O_NONBLOCK a pipe of this name would be waited for.
  const int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    stamp_ = NoFile(errno);
    return Problem(std::strerror(errno));
  }
  const absl::Cleanup close_file = [fd] { close(fd); };
  struct stat info;
  if (fstat(fd, &info) != 0) return Problem(std::strerror(errno));
  stamp_ = StampOf(info);
  settled_ = IsSettled(info);
  world_readable_ = (info.st_mode & S_IROTH) != 0;
  if (!S_ISREG(info.st_mode)) return Problem("not a regular file");
  std::string content;
  if (const int error = ReadAll(fd, &content); error != 0) return Problem(std::strerror(error));
  if (content.size() > kMaxBytes) return Problem("more than 1 MiB");
  return content;
}

absl::Status WatchedFile::Problem(const std::string& reason) const {
  return absl::UnavailableError(absl::StrCat("cannot read ", path_, ": ", reason));
}

void LogNewProblem(const absl::Status& status, const char* consequence, std::string* told) {
  std::string problem(status.message());
  if (problem == *told) return;
  LOG_IF(ERROR, !status.ok()) << problem << "; " << consequence;
  *told = std::move(problem);
}

}  // namespace olmoe::access
