#ifndef OLMOE_SERVER_UTIL_FILE_READER_H_
#define OLMOE_SERVER_UTIL_FILE_READER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace olmoe {

// A regular file open for reading, by pread: no mapping, so a file that shrinks is
// an error and not a signal. Owns the descriptor. Immutable; thread-safe.
class FileReader {
 public:
  // Errors name the file. Refuses what is not a regular file; never waits, as
  // opening a FIFO would.
  static absl::StatusOr<std::unique_ptr<FileReader>> Open(const std::string& path);
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  const std::string& path() const { return path_; }
  // Size when the file was opened.
  uint64_t size_bytes() const { return size_bytes_; }

  // Fills `target` from `offset`. An end of file before that is DATA_LOSS: callers
  // only ask for what size_bytes() promised.
  absl::Status ReadAt(uint64_t offset, std::span<std::byte> target) const;

  // Tells the kernel that the file is about to be read from start to end.
  void AdviseSequential() const;

  // DATA_LOSS if size or modification time differ from those at Open.
  absl::Status CheckUnchanged() const;

 private:
  FileReader(std::string path, int fd, uint64_t size_bytes, int64_t modified_ns);

  const std::string path_;
  const int fd_;
  const uint64_t size_bytes_;
  const int64_t modified_ns_;  // st_mtim, since the epoch
};

// A whole file of at most `max_bytes`; RESOURCE_EXHAUSTED where it is longer.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, uint64_t max_bytes);

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_FILE_READER_H_
