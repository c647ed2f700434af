#include "server/state/state_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/state/schema.h"

namespace olmoe::state {
namespace {

// Its name in the folder above is durable too.
absl::Status MakeDirectory(const std::string& dir) {
  if (mkdir(dir.c_str(), 0700) != 0) {
    if (errno == EEXIST) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat(dir, ": ", std::strerror(errno)));
  }
  const std::string parent = std::filesystem::absolute(dir).lexically_normal().parent_path();
  const int fd = open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return absl::OkStatus();  // may not be read: nothing more to do
  fsync(fd);
  close(fd);
  return absl::OkStatus();
}

}  // namespace

StateStore::StateStore(std::unique_ptr<DirLock> lock, std::unique_ptr<Database> database)
    : lock_(std::move(lock)),
      database_(std::move(database)),
      plans_(database_.get()),
      calibrations_(database_.get()) {}

absl::StatusOr<std::unique_ptr<StateStore>> StateStore::Open(const std::string& dir) {
  if (absl::Status status = MakeDirectory(dir); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<DirLock>> lock = DirLock::Acquire(dir);
  if (!lock.ok()) return lock.status();
  const std::string path = dir + "/state.db";
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(path);
  if (!database.ok()) return database.status();
  if (absl::Status status = PrepareSchema(database->get()); !status.ok()) return status;
  return std::unique_ptr<StateStore>(new StateStore(*std::move(lock), *std::move(database)));
}

}  // namespace olmoe::state
