#include "server/state/state_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
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

absl::Status IsNotTheNewest(const std::string& path, const std::string& what,
                            const GenerationMark& mark) {
  return absl::DataLossError(absl::StrCat(
      path, ": ", what, ", but generation ", mark.generation(),
      " was acknowledged: the file was lost, emptied, or replaced by an older copy. Put the "
      "newest copy back, or remove ",
      mark.path(), " to go on with what there is"));
}

// Before SQLite would make a new file, or delete the log beside an empty one.
absl::Status CheckFile(const std::string& path, const GenerationMark& mark) {
  struct stat info = {};
  const bool empty = stat(path.c_str(), &info) != 0 || info.st_size == 0;
  if (!empty || mark.generation() == 0) return absl::OkStatus();
  return IsNotTheNewest(path, "is missing or empty", mark);
}

// Pages that do not fit together, as in a file that was cut off, are found now and not by
// the patch that needs them.
absl::Status CheckPages(Database* database) {
  absl::StatusOr<Statement> check = database->Prepare("PRAGMA quick_check(1)");
  if (!check.ok()) return check.status();
  const absl::StatusOr<bool> row = check->Step();
  if (!row.ok()) return row.status();
  if (*row && check->Bytes(0) == "ok") return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(database->path(), ": is damaged: ", check->Bytes(0)));
}

absl::Status CheckNewest(Database* database, GenerationMark* mark) {
  const absl::StatusOr<int64_t> newest = database->QueryInt("SELECT max(generation) FROM plans");
  if (!newest.ok()) return newest.status();
  const auto generation = static_cast<uint64_t>(std::max<int64_t>(*newest, 0));
  if (generation < mark->generation()) {
    return IsNotTheNewest(database->path(), absl::StrCat("ends with generation ", generation),
                          *mark);
  }
  // The process may have ended between the database and its mark. A disk that is full now
  // is no reason not to serve.
  const absl::Status raised = mark->Raise(generation);
  LOG_IF(WARNING, !raised.ok()) << raised.message();
  return absl::OkStatus();
}

}  // namespace

StateStore::StateStore(std::unique_ptr<DirLock> lock, std::unique_ptr<GenerationMark> mark,
                       std::unique_ptr<Database> database)
    : lock_(std::move(lock)),
      mark_(std::move(mark)),
      database_(std::move(database)),
      plans_(database_.get(), mark_.get()),
      calibrations_(database_.get()),
      routers_(database_.get()) {}

absl::StatusOr<std::unique_ptr<StateStore>> StateStore::Open(const std::string& dir) {
  if (absl::Status status = MakeDirectory(dir); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<DirLock>> lock = DirLock::Acquire(dir);
  if (!lock.ok()) return lock.status();
  const std::string path = dir + "/state.db";
  auto mark = std::make_unique<GenerationMark>(dir + "/newest_generation");
  if (absl::Status status = CheckFile(path, *mark); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(path);
  if (!database.ok()) return database.status();
  if (absl::Status status = PrepareSchema(database->get()); !status.ok()) return status;
  if (absl::Status status = CheckPages(database->get()); !status.ok()) return status;
  if (absl::Status status = CheckNewest(database->get(), mark.get()); !status.ok()) return status;
  (*database)->Checkpoint();
  return std::unique_ptr<StateStore>(
      new StateStore(*std::move(lock), std::move(mark), *std::move(database)));
}

}  // namespace olmoe::state
