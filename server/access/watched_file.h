#ifndef OLMOE_SERVER_ACCESS_WATCHED_FILE_H_
#define OLMOE_SERVER_ACCESS_WATCHED_FILE_H_

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace olmoe::access {

// A small regular file, and whether it may have changed since it was read: asking is
// one stat(), cheap enough for every call and every connection, so nothing polls and a
// change holds at once. Thread-compatible.
class WatchedFile {
 public:
  // An empty path is a file that is never there and never changes.
  explicit WatchedFile(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }

  // Whether Read might give something else than it did last.
  bool MayHaveChanged() const;

  // All of the file; empty for the empty path. Errors name the file and the reason:
  // UNAVAILABLE.
  absl::StatusOr<std::string> Read();

  // Whether the file that was read last may be read by every user of the machine.
  bool world_readable() const { return world_readable_; }

 private:
  // Which file it is, its size and its times; errno where there is none.
  using Stamp = std::tuple<int, uint64_t, uint64_t, int64_t, int64_t, int64_t, int64_t, int64_t>;
  static Stamp StampOf(const struct stat& info);
  static Stamp NoFile(int error);
  absl::Status Problem(const std::string& reason) const;

  const std::string path_;
  Stamp stamp_;
  // False while another write could leave the stamp as it is: file times are as coarse
  // as the kernel's clock tick.
  bool settled_ = false;
  bool world_readable_ = false;
};

// Logs why a changed file was not taken, and the `consequence`, unless that was logged last:
// `told` is what was. An OK status makes the same problem news again.
void LogNewProblem(const absl::Status& status, const char* consequence, std::string* told);

}  // namespace olmoe::access

#endif  // OLMOE_SERVER_ACCESS_WATCHED_FILE_H_
