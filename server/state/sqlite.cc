#include "server/state/sqlite.h"

#include <sqlite3.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace olmoe::state {
namespace {

// A reader from outside (a backup) may hold the file for a moment.
constexpr int kBusyMilliseconds = 2000;

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path) {
  std::unique_ptr<Database> database(new Database);
  database->path_ = path;
  const int code = sqlite3_open_v2(
      path.c_str(), &database->db_,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE,
      nullptr);
  if (code != SQLITE_OK) return database->Error(code);
  sqlite3_extended_result_codes(database->db_, 1);
  sqlite3_busy_timeout(database->db_, kBusyMilliseconds);
  absl::Status status = database->Execute(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON");
  if (!status.ok()) return status;
  return database;
}

Database::~Database() { sqlite3_close_v2(db_); }

absl::Status Database::Error(int code) const {
  const std::string message =
      absl::StrCat(path_, ": ", db_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(db_), " (",
                   sqlite3_errstr(code), ", SQLite code ", code, ")");
  switch (code & 0xFF) {
    case SQLITE_FULL: return absl::ResourceExhaustedError(message);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return absl::DataLossError(message);
    default: return absl::UnavailableError(message);
  }
}

absl::Status Database::Execute(const char* sql) {
  const int code = sqlite3_exec(db_, sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Error(code);
}

void Database::Checkpoint() {
  sqlite3_busy_timeout(db_, 0);  // a reader is not waited for
  const int code =
      sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  sqlite3_busy_timeout(db_, kBusyMilliseconds);
  LOG_IF(WARNING, code != SQLITE_OK && (code & 0xFF) != SQLITE_BUSY)
      << "what was stored stays in " << path_ << "-wal: " << Error(code).message();
}

absl::StatusOr<Statement> Database::Prepare(const char* sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(db_, sql, -1, &statement, nullptr);
  if (code != SQLITE_OK) return Error(code);
  return Statement(this, statement);
}

absl::StatusOr<int64_t> Database::QueryInt(const char* sql) {
  absl::StatusOr<Statement> statement = Prepare(sql);
  if (!statement.ok()) return statement.status();
  const absl::StatusOr<bool> row = statement->Step();
  if (!row.ok()) return row.status();
  return *row ? statement->Int(0) : 0;
}

Statement::~Statement() { sqlite3_finalize(statement_); }

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_), statement_(std::exchange(other.statement_, nullptr)) {}

// Binding fails only for a parameter that the statement does not have.
void Statement::BindInt(int parameter, int64_t value) {
  CHECK_EQ(sqlite3_bind_int64(statement_, parameter, value), SQLITE_OK);
}

void Statement::BindDouble(int parameter, double value) {
  CHECK_EQ(sqlite3_bind_double(statement_, parameter, value), SQLITE_OK);
}

void Statement::BindText(int parameter, std::string_view value) {
  CHECK_EQ(sqlite3_bind_text64(statement_, parameter, value.data(), value.size(), SQLITE_TRANSIENT,
                               SQLITE_UTF8),
           SQLITE_OK);
}

void Statement::BindBlob(int parameter, std::string_view value) {
  // A null pointer would be NULL instead of an empty blob.
  CHECK_EQ(sqlite3_bind_blob64(statement_, parameter, value.empty() ? "" : value.data(),
                               value.size(), SQLITE_TRANSIENT),
           SQLITE_OK);
}

void Statement::BindNull(int parameter) {
  CHECK_EQ(sqlite3_bind_null(statement_, parameter), SQLITE_OK);
}

absl::StatusOr<bool> Statement::Step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return database_->Error(code);
}

absl::Status Statement::Run() {
  absl::StatusOr<bool> row = Step();
  while (row.ok() && *row) row = Step();
  return row.status();
}

void Statement::Reset() {
  // Tells the error of the last Step again, which was seen there.
  (void)sqlite3_reset(statement_);
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_, column); }

double Statement::Double(int column) const { return sqlite3_column_double(statement_, column); }

std::string Statement::Bytes(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return size == 0 ? std::string() : std::string(static_cast<const char*>(bytes), size);
}

Transaction::~Transaction() {
  // After some errors SQLite has rolled back already, and says so.
  if (open_) database_->Execute("ROLLBACK").IgnoreError();
}

absl::Status Transaction::Begin() {
  const absl::Status status = database_->Execute("BEGIN IMMEDIATE");
  open_ = status.ok();
  return status;
}

absl::Status Transaction::Commit() {
  if (absl::Status status = database_->Execute("COMMIT"); !status.ok()) return status;
  open_ = false;
  database_->Checkpoint();
  return absl::OkStatus();
}

}  // namespace olmoe::state
