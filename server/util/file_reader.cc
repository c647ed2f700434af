#include "server/util/file_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

namespace olmoe {
namespace {

int64_t ModifiedNanoseconds(const struct stat& info) {
  return int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
}

absl::Status ErrnoAt(const std::string& path, std::string_view what) {
  const int error = errno;
  return absl::ErrnoToStatus(error, absl::StrCat(path, ": cannot ", std::string(what)));
}

}  // namespace

FileReader::FileReader(std::string path, int fd, uint64_t size_bytes, int64_t modified_ns)
    : path_(std::move(path)), fd_(fd), size_bytes_(size_bytes), modified_ns_(modified_ns) {}

FileReader::~FileReader() { close(fd_); }

absl::StatusOr<std::unique_ptr<FileReader>> FileReader::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return ErrnoAt(path, "open");
  struct stat info{};
  if (fstat(fd, &info) != 0) {
    const absl::Status status = ErrnoAt(path, "stat");
    close(fd);
    return status;
  }
  if (!S_ISREG(info.st_mode)) {
    close(fd);
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }
  return std::unique_ptr<FileReader>(
      new FileReader(path, fd, static_cast<uint64_t>(info.st_size), ModifiedNanoseconds(info)));
}

absl::Status FileReader::ReadAt(uint64_t offset, std::span<std::byte> target) const {
  while (!target.empty()) {
    const ssize_t got = pread(fd_, target.data(), target.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoAt(path_, absl::StrCat("read at byte ", offset));
    if (got == 0) {
      return absl::DataLossError(absl::StrCat(path_, ": ends at byte ", offset, ", expected ",
                                              size_bytes_,
                                              " bytes: truncated while it was being read"));
    }
    offset += static_cast<uint64_t>(got);
    target = target.subspan(static_cast<size_t>(got));
  }
  return absl::OkStatus();
}

void FileReader::AdviseSequential() const {
  // A hint: without it reading is slower, not wrong.
  static_cast<void>(posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL));
}

absl::Status FileReader::CheckUnchanged() const {
  struct stat info{};
  if (fstat(fd_, &info) != 0) return ErrnoAt(path_, "stat");
  if (static_cast<uint64_t>(info.st_size) == size_bytes_ &&
      ModifiedNanoseconds(info) == modified_ns_) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(path_, ": changed while it was being read (", size_bytes_,
                                          " bytes at first, now ", info.st_size, ")"));
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, uint64_t max_bytes) {
  absl::StatusOr<std::unique_ptr<FileReader>> file = FileReader::Open(path);
  if (!file.ok()) return file.status();
  if ((*file)->size_bytes() > max_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(path, ": ", (*file)->size_bytes(),
                                                     " bytes, at most ", max_bytes, " expected"));
  }
  std::string content((*file)->size_bytes(), '\0');
  absl::Status status = (*file)->ReadAt(0, std::as_writable_bytes(std::span(content)));
  if (!status.ok()) return status;
  return content;
}

}  // namespace olmoe
