// The few things of SQLite's C API that the tables use, as values and Status.
#ifndef OLMOE_SERVER_STATE_SQLITE_H_
#define OLMOE_SERVER_STATE_SQLITE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

struct sqlite3;
struct sqlite3_stmt;

namespace olmoe::state {

class Statement;

// One connection to one file, which it creates. Write-ahead log with synchronous=FULL:
// what is committed has reached the disk. After each Transaction what the log holds is
// moved into the file, so that the file alone is the state; where a reader from outside
// or the disk forbids it, it stays in the log, as durable, until the next one. Whoever uses
// it holds mu(); thread-safe by that alone.
class Database {
 public:
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  absl::Mutex& mu() { return mu_; }
  const std::string& path() const { return path_; }

  // One or more statements without parameters and results.
  absl::Status Execute(const char* sql);
  absl::StatusOr<Statement> Prepare(const char* sql);
  // The first value of the only row of `sql`.
  absl::StatusOr<int64_t> QueryInt(const char* sql);

  // Moves what is committed from the log into the file. No transaction may be open.
  void Checkpoint();

  // RESOURCE_EXHAUSTED: the disk is full. DATA_LOSS: the file is damaged or none of ours.
  // UNAVAILABLE: anything else that the disk refuses.
  absl::Status Error(int code) const;

 private:
  Database() = default;

  std::string path_;
  sqlite3* db_ = nullptr;
  absl::Mutex mu_;
};

// A prepared statement; parameters are numbered from 1, columns from 0. Move-only, used
// under the database's mutex.
class Statement {
 public:
  Statement(Database* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}
  ~Statement();
  Statement(Statement&& other) noexcept;
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  void BindInt(int parameter, int64_t value);
  void BindDouble(int parameter, double value);
  void BindText(int parameter, std::string_view value);
  void BindBlob(int parameter, std::string_view value);
  void BindNull(int parameter);

  // True: there is a row. False: done.
  absl::StatusOr<bool> Step();
  // Runs to the end a statement that gives no rows.
  absl::Status Run();
  // Ready to be bound and run again.
  void Reset();

  bool IsNull(int column) const;
  int64_t Int(int column) const;
  double Double(int column) const;
  std::string Bytes(int column) const;  // text or blob

 private:
  Database* database_;
  sqlite3_stmt* statement_;  // owned
};

// Everything between its Begin and its Commit is stored, or nothing is.
class Transaction {
 public:
  explicit Transaction(Database* database) : database_(database) {}
  ~Transaction();  // rolls back what was not committed
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  absl::Status Begin();
  absl::Status Commit();

 private:
  Database* const database_;
  bool open_ = false;
};

}  // namespace olmoe::state

#endif  // OLMOE_SERVER_STATE_SQLITE_H_
