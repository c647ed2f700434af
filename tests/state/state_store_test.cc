#include "server/state/state_store.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/routing/controller.h"
#include "tests/routing/policies.h"
#include "tests/support/log_capture.h"
#include "tests/support/temp_folder.h"

namespace olmoe::state {
namespace {

using routing::PatchOptions;
using routing::RoutingController;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr routing::RouterShape kShape{1, 8, 2, false};

routing::PlanSpec TopK(uint32_t k, std::string note = "") {
  return routing::PlanOf({routing::ArmOf("default", routing::PolicyOf(routing::TopKRule(k)))}, "",
                         std::move(note));
}

std::unique_ptr<RoutingController> ControllerOn(StateStore* store) {
  RoutingController::Options options;
  options.shape = kShape;
  options.store = &store->plans();
  auto controller = RoutingController::Create(std::move(options));
  CHECK(controller.ok()) << controller.status();
  return *std::move(controller);
}

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

TEST(StateStoreTest, PlansSurviveTheProcess) {
  testing::TempFolder folder;
  std::string digest;
  {
    const auto store = StateStore::Open(folder.path()).value();
    const auto controller = ControllerOn(store.get());
    PatchOptions options;
    options.actor = "ann";
    ASSERT_TRUE(controller->Patch(TopK(3), options).ok());
    digest = controller->slot().Current()->digest();
  }
  const auto store = StateStore::Open(folder.path()).value();
  const auto controller = ControllerOn(store.get());
  EXPECT_EQ(controller->slot().Current()->generation(), 2u);
  EXPECT_EQ(controller->slot().Current()->digest(), digest);
  EXPECT_EQ(controller->CurrentRecord()->actor, "ann");
}

TEST(StateStoreTest, TheDirectoryIsMadeForItsOwnerAlone) {
  testing::TempFolder folder;
  const std::string dir = folder.File("new");
  ASSERT_TRUE(StateStore::Open(dir).ok());
  struct stat info = {};
  ASSERT_EQ(stat(dir.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST(StateStoreTest, ADirectoryThatCannotBeMadeIsNamed) {
  testing::TempFolder folder;
  const std::string file = folder.Write("file", "");
  for (const std::string& dir : {folder.File("no/such/parent"), file, file + "/dir"}) {
    const absl::Status status = StateStore::Open(dir).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(MessageOf(status), HasSubstr(dir));
    EXPECT_THAT(MessageOf(status), Not(HasSubstr("\n")));
  }
}

TEST(StateStoreTest, ASecondServerIsKeptOut) {
  testing::TempFolder folder;
  auto store = StateStore::Open(folder.path()).value();
  const absl::Status second = StateStore::Open(folder.path()).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(MessageOf(second), HasSubstr(absl::StrCat("process ", getpid())));
  store.reset();
  EXPECT_TRUE(StateStore::Open(folder.path()).ok());
}

TEST(StateStoreTest, AnotherSchemaVersionIsRefused) {
  testing::TempFolder folder;
  ASSERT_TRUE(StateStore::Open(folder.path()).ok());
  {
    const auto database = Database::Open(folder.File("state.db")).value();
    ASSERT_TRUE(database->Execute("PRAGMA user_version = 7").ok());
  }
  const absl::Status status = StateStore::Open(folder.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(MessageOf(status),
              HasSubstr("state.db: has schema version 7, this server reads version 2"));
}

TEST(StateStoreTest, ADatabaseOfAnotherProgramIsLeftAlone) {
  testing::TempFolder folder;
  {
    const auto database = Database::Open(folder.File("state.db")).value();
    ASSERT_TRUE(database->Execute("CREATE TABLE mine (x)").ok());
  }
  EXPECT_EQ(StateStore::Open(folder.path()).status().code(), absl::StatusCode::kDataLoss);
  const auto database = Database::Open(folder.File("state.db")).value();
  EXPECT_EQ(*database->QueryInt("SELECT count(*) FROM sqlite_schema"), 1);
}

TEST(StateStoreTest, AFileThatIsNoDatabaseIsRefused) {
  testing::TempFolder folder;
  folder.Write("state.db", std::string(4096, 'x'));
  const absl::Status status = StateStore::Open(folder.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(MessageOf(status), HasSubstr("state.db"));
}

TEST(StateStoreTest, APlanThatIsNotReadableIsDataLoss) {
  testing::TempFolder folder;
  {
    const auto store = StateStore::Open(folder.path()).value();
    ControllerOn(store.get());
  }
  {
    const auto database = Database::Open(folder.File("state.db")).value();
    ASSERT_TRUE(database->Execute("UPDATE plans SET plan = x'ffffffff'").ok());
  }
  const auto store = StateStore::Open(folder.path()).value();
  const absl::Status status = store->plans().Find(1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(MessageOf(status), HasSubstr("generation 1"));
  RoutingController::Options options;
  options.shape = kShape;
  options.store = &store->plans();
  EXPECT_EQ(RoutingController::Create(std::move(options)).status().code(),
            absl::StatusCode::kDataLoss);
}

// Files of this process may not grow beyond a size; as on a full disk, the write fails
// where it is. Lifted at the end of the scope.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_;
};

TEST(StateStoreTest, ADiskThatRefusesAWriteRefusesThePatchAndNothingElse) {
  testing::TempFolder folder;
  auto store = StateStore::Open(folder.path()).value();
  auto controller = ControllerOn(store.get());
  ASSERT_TRUE(controller->Patch(TopK(3), {}).ok());
  const auto before = controller->slot().Current();
  const auto log_bytes = std::filesystem::file_size(folder.File("state.db-wal"));
  // Several pages: a plan and an answer.
  PatchOptions options;
  options.idempotency = {"key", "digest"};
  // Refused at the first byte, within a page, and with a part of the pages written.
  for (const rlim_t room : {0, 100, 5000}) {
    FileSizeLimit limit(log_bytes + room);
    for (int i = 0; i < 3; ++i) {
      const absl::Status status = controller->Patch(TopK(4), options).status();
      ASSERT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
      ASSERT_THAT(MessageOf(status), HasSubstr("nothing has changed"));
    }
    ASSERT_EQ(controller->slot().Current(), before);
    ASSERT_FALSE(store->plans().Find(3).ok());
  }
  const auto after = controller->Patch(TopK(5), options);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_FALSE(after->is_repeated);
  EXPECT_EQ(after->record.generation, 3u);

  controller.reset();
  store.reset();
  store = StateStore::Open(folder.path()).value();
  EXPECT_EQ(ControllerOn(store.get())->slot().Current()->generation(), 3u);
}

// What a server's directory held at a moment, as files of another one.
class CopiedState {
 public:
  explicit CopiedState(const testing::TempFolder& from) {
    for (const char* name : {"state.db", "state.db-wal", "newest_generation"}) {
      std::error_code none;
      std::filesystem::copy_file(from.File(name), folder_.File(name), none);
    }
  }
  const testing::TempFolder& folder() const { return folder_; }
  std::string File(const char* name) const { return folder_.File(name); }
  void Remove(const char* name) const { std::filesystem::remove(File(name)); }
  // As far as a start gets.
  absl::StatusOr<uint64_t> Newest() const {
    const auto store = StateStore::Open(folder_.path());
    if (!store.ok()) return store.status();
    const auto newest = (*store)->plans().List(UINT64_MAX, 1);
    if (!newest.ok()) return newest.status();
    return newest->empty() ? 0 : newest->front().generation;
  }

 private:
  testing::TempFolder folder_;
};

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(StateStoreTest, TheFileWithoutItsLogHoldsWhatWasAcknowledged) {
  testing::TempFolder folder;
  const auto store = StateStore::Open(folder.path()).value();
  const auto controller = ControllerOn(store.get());
  PatchOptions living;
  living.ttl = absl::Hours(1);
  const auto patched = controller->Patch(TopK(3), living);
  ASSERT_TRUE(patched.ok()) << patched.status();
  const auto end = controller->Renew(2, absl::Hours(5));
  ASSERT_TRUE(end.ok()) << end.status();
  ASSERT_TRUE(store->calibrations().Put(*routing::CalibrationOf("cal", 2)).ok());
  ASSERT_TRUE(store->calibrations().Put(*routing::CalibrationOf("gone", 2)).ok());
  ASSERT_TRUE(store->calibrations().Delete("gone").ok());
  CopiedState copy(folder);
  copy.Remove("state.db-wal");
  const auto again = StateStore::Open(copy.folder().path());
  ASSERT_TRUE(again.ok()) << again.status();
  const auto record = (*again)->plans().Find(2);
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(absl::ToUnixNanos(record->expire_time), absl::ToUnixNanos(*end));
  const auto calibrations = (*again)->calibrations().LoadAll();
  ASSERT_TRUE(calibrations.ok() && calibrations->size() == 1);
  EXPECT_EQ(calibrations->front()->calibration_id(), "cal");
}

TEST(StateStoreTest, AStateThatIsNotTheNewestIsRefusedByNameAndLeftAlone) {
  testing::TempFolder folder;
  const auto store = StateStore::Open(folder.path()).value();
  const auto controller = ControllerOn(store.get());
  const CopiedState older(folder);
  ASSERT_TRUE(controller->Patch(TopK(3), {}).ok());
  const auto remove = [](const CopiedState& state) { state.Remove("state.db"); };
  const auto empty = [](const CopiedState& state) { state.folder().Write("state.db", ""); };
  const auto exchange = [&](const CopiedState& state) {
    state.folder().Write("state.db", ReadFile(older.File("state.db")));
  };
  const auto delete_rows = [](const CopiedState& state) {
    const auto database = Database::Open(state.File("state.db")).value();
    ASSERT_TRUE(database->Execute("DELETE FROM plans").ok());
  };
  const std::function<void(const CopiedState&)> damages[] = {remove, empty, exchange, delete_rows};
  for (const auto& damage : damages) {
    const CopiedState copy(folder);
    damage(copy);
    for (int start = 0; start < 2; ++start) {
      const absl::Status status = copy.Newest().status();
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
      EXPECT_THAT(MessageOf(status), HasSubstr("generation 2 was acknowledged"));
      EXPECT_THAT(MessageOf(status), HasSubstr(copy.File("state.db")));
      EXPECT_THAT(MessageOf(status), HasSubstr(copy.File("newest_generation")));
      EXPECT_THAT(MessageOf(status), Not(HasSubstr("\n")));
    }
    // What the message says: either of them.
    copy.Remove("newest_generation");
    EXPECT_TRUE(copy.Newest().ok());
    copy.folder().Write("state.db", ReadFile(folder.File("state.db")));
    EXPECT_EQ(copy.Newest().value_or(0), 2u);
  }
}

// The log is needed where a reader from outside has kept it from being moved.
TEST(StateStoreTest, ADamagedLogThatWasNeededIsNoticed) {
  testing::TempFolder folder;
  const auto store = StateStore::Open(folder.path()).value();
  const auto controller = ControllerOn(store.get());
  const auto reader = Database::Open(folder.File("state.db")).value();
  ASSERT_TRUE(reader->Execute("BEGIN").ok());
  ASSERT_EQ(*reader->QueryInt("SELECT max(generation) FROM plans"), 1);
  ASSERT_TRUE(controller->Patch(TopK(3), {}).ok());
  {
    const CopiedState whole(folder);
    EXPECT_EQ(whole.Newest().value_or(0), 2u);
  }
  const std::string log = ReadFile(folder.File("state.db-wal"));
  ASSERT_GT(log.size(), 100u);
  for (const size_t flipped : {size_t{20}, size_t{60}, log.size() / 2, log.size() - 1}) {
    const CopiedState damaged(folder);
    std::string bytes = log;
    bytes[flipped] = static_cast<char>(~bytes[flipped]);
    damaged.folder().Write("state.db-wal", bytes);
    EXPECT_EQ(damaged.Newest().status().code(), absl::StatusCode::kDataLoss) << flipped;
  }
  // The reader is gone: the next patch moves everything.
  ASSERT_TRUE(reader->Execute("COMMIT").ok());
  ASSERT_TRUE(controller->Patch(TopK(4), {}).ok());
  CopiedState copy(folder);
  copy.Remove("state.db-wal");
  EXPECT_EQ(copy.Newest().value_or(0), 3u);
}

// Where the process can end between two writes of one patch.
TEST(StateStoreTest, AnEndBetweenTheDatabaseAndItsMarkLosesAndRefusesNothing) {
  testing::TempFolder folder;
  const auto store = StateStore::Open(folder.path()).value();
  const auto controller = ControllerOn(store.get());
  const auto reader = Database::Open(folder.File("state.db")).value();
  for (const bool in_the_log : {true, false}) {
    if (in_the_log) {
      ASSERT_TRUE(reader->Execute("BEGIN").ok());
      ASSERT_TRUE(reader->QueryInt("SELECT max(generation) FROM plans").ok());
    }
    const std::string mark = ReadFile(folder.File("newest_generation"));
    const auto patched = controller->Patch(TopK(in_the_log ? 3 : 4), {});
    ASSERT_TRUE(patched.ok()) << patched.status();
    const CopiedState copy(folder);
    EXPECT_EQ(std::filesystem::file_size(copy.File("state.db-wal")) > 0, in_the_log);
    copy.folder().Write("newest_generation", mark);
    copy.folder().Write("newest_generation.tmp", "");  // begun, not finished
    EXPECT_EQ(copy.Newest().value_or(0), patched->record.generation);
    EXPECT_EQ(ReadFile(copy.File("newest_generation")),
              absl::StrCat(patched->record.generation, "\n"));
    if (in_the_log) {
      ASSERT_TRUE(reader->Execute("COMMIT").ok());
    }
  }
}

TEST(StateStoreTest, AMarkThatIsNotReadableIsToldAndMadeAnew) {
  testing::TempFolder folder;
  {
    ControllerOn(StateStore::Open(folder.path()).value().get());
  }
  for (const char* content : {"", "x", "-1", "99999999999999999999"}) {
    folder.Write("newest_generation", content);
    testing::LogCapture log;
    EXPECT_TRUE(StateStore::Open(folder.path()).ok());
    EXPECT_EQ(log.CountOf("newest_generation is not readable"), 1) << content;
    EXPECT_EQ(ReadFile(folder.File("newest_generation")), "1\n");
  }
}

TEST(StateStoreTest, AFileThatIsCutOffIsDataLoss) {
  testing::TempFolder folder;
  {
    const auto store = StateStore::Open(folder.path()).value();
    ASSERT_TRUE(ControllerOn(store.get())->Patch(TopK(3), {}).ok());
  }
  const std::string whole = ReadFile(folder.File("state.db"));
  for (const size_t bytes : {whole.size() - 4096, whole.size() / 2, size_t{4096}, size_t{100}}) {
    folder.Write("state.db", whole.substr(0, bytes));
    const absl::Status status = StateStore::Open(folder.path()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << bytes << " bytes: " << status;
    EXPECT_THAT(MessageOf(status), HasSubstr("state.db"));
  }
}

// The log may grow, the file may not: what is in the log is stored.
TEST(StateStoreTest, APatchThatStaysInTheLogStandsAndSurvives) {
  testing::TempFolder folder;
  auto store = StateStore::Open(folder.path()).value();
  auto controller = ControllerOn(store.get());
  testing::LogCapture log;
  {
    FileSizeLimit limit(6000);  // enough for one page in the log, not for its place in the file
    const auto patched = controller->Patch(TopK(3), {});
    ASSERT_TRUE(patched.ok()) << patched.status();
  }
  EXPECT_EQ(log.CountOf("stays in " + folder.File("state.db") + "-wal"), 1);
  EXPECT_EQ(CopiedState(folder).Newest().value_or(0), 2u);
  ASSERT_TRUE(controller->Patch(TopK(4), {}).ok());
  CopiedState copy(folder);
  copy.Remove("state.db-wal");
  EXPECT_EQ(copy.Newest().value_or(0), 3u);
}

TEST(DatabaseTest, AFullDatabaseIsResourceExhausted) {
  testing::TempFolder folder;
  const auto database = Database::Open(folder.File("full.db")).value();
  ASSERT_TRUE(database->Execute("CREATE TABLE t (x)").ok());
  ASSERT_TRUE(database->Execute("PRAGMA max_page_count = 3").ok());
  const absl::Status status = database->Execute("INSERT INTO t VALUES (zeroblob(100000))");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(MessageOf(status), HasSubstr("full.db"));
  EXPECT_EQ(*database->QueryInt("SELECT count(*) FROM t"), 0);
}

TEST(DatabaseTest, CommitsReachTheDisk) {
  testing::TempFolder folder;
  const auto database = Database::Open(folder.File("file.db")).value();
  constexpr int kFull = 2;
  EXPECT_EQ(*database->QueryInt("PRAGMA synchronous"), kFull);
}

TEST(DatabaseTest, ATransactionThatIsNotCommittedIsUndone) {
  testing::TempFolder folder;
  const auto database = Database::Open(folder.File("file.db")).value();
  ASSERT_TRUE(database->Execute("CREATE TABLE t (x)").ok());
  {
    Transaction transaction(database.get());
    ASSERT_TRUE(transaction.Begin().ok());
    ASSERT_TRUE(database->Execute("INSERT INTO t VALUES (1)").ok());
  }
  EXPECT_EQ(*database->QueryInt("SELECT count(*) FROM t"), 0);
}

// 8 writers, 25 stored compare-and-swaps each, which is 200 times to the disk and back;
// tests/routing runs 2,000 each in memory.
TEST(StateStoreTest, EveryGenerationHasOneWinnerAndIsStored) {
  constexpr int kWriters = 8, kSwaps = 25;
  testing::TempFolder folder;
  const auto store = StateStore::Open(folder.path()).value();
  const auto controller = ControllerOn(store.get());
  std::atomic<int> unexpected = 0;
  std::vector<std::vector<uint64_t>> won(kWriters);
  std::vector<std::thread> writers;
  for (int writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&, writer] {
      while (won[writer].size() < kSwaps) {
        const uint64_t seen = controller->slot().Current()->generation();
        PatchOptions options;
        options.expected_generation = seen;
        options.actor = absl::StrCat(writer);
        const auto result = controller->Patch(TopK(1 + seen % 8), options);
        if (result.ok() && result->changed) {
          won[writer].push_back(result->record.generation);
        } else if (!absl::IsAborted(result.status())) {
          ++unexpected;
        }
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(unexpected, 0);
  const auto records = store->plans().List(UINT64_MAX, kWriters * kSwaps + 10);
  ASSERT_TRUE(records.ok());
  ASSERT_EQ(records->size(), 1u + kWriters * kSwaps);
  std::vector<std::vector<uint64_t>> stored(kWriters);
  for (auto record = records->rbegin() + 1; record != records->rend(); ++record) {
    stored[std::stoul(record->actor)].push_back(record->generation);
  }
  EXPECT_EQ(stored, won);
}

}  // namespace
}  // namespace olmoe::state
