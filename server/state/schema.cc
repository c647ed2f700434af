#include "server/state/schema.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"

namespace olmoe::state {
namespace {

// In the header of the file, so that another program's database is never taken for ours.
constexpr int64_t kApplicationId = 0x4F4C4D45;  // "OLME"

// Times in nanoseconds since 1970. `plan` is a serialized olmoe.v1.RoutingPlan;
// `survival` the doubles of a CdfTable, little-endian.
constexpr char kTables[] = R"sql(
CREATE TABLE plans (
  generation INTEGER PRIMARY KEY,
  digest TEXT NOT NULL,
  plan BLOB NOT NULL,
  source TEXT NOT NULL,
  actor TEXT NOT NULL,
  activate_ns INTEGER NOT NULL,
  expire_ns INTEGER,
  fallback INTEGER NOT NULL
) STRICT;
CREATE TABLE answers (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL UNIQUE,
  request_digest TEXT NOT NULL,
  answer BLOB NOT NULL
) STRICT;
CREATE TABLE plan_file (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  digest TEXT NOT NULL
) STRICT;
CREATE TABLE calibrations (
  calibration_id TEXT PRIMARY KEY,
  digest TEXT NOT NULL,
  num_tokens INTEGER NOT NULL,
  trim_top INTEGER NOT NULL
) STRICT;
CREATE TABLE calibration_layers (
  calibration_id TEXT NOT NULL REFERENCES calibrations ON DELETE CASCADE,
  layer INTEGER NOT NULL,
  x0 REAL NOT NULL,
  dx REAL NOT NULL,
  survival BLOB NOT NULL,
  PRIMARY KEY (calibration_id, layer)
) STRICT;
)sql";

// Since version 2. `weights`: [num_experts][hidden_size] of `dtype`, "F32" or "BF16", little-endian.
constexpr char kRouterTables[] = R"sql(
CREATE TABLE routers (
  router_id TEXT PRIMARY KEY,
  digest TEXT NOT NULL
) STRICT;
CREATE TABLE router_layers (
  router_id TEXT NOT NULL REFERENCES routers ON DELETE CASCADE,
  layer INTEGER NOT NULL,
  dtype TEXT NOT NULL,
  weights BLOB NOT NULL,
  PRIMARY KEY (router_id, layer)
) STRICT;
)sql";

absl::Status CreateTables(const char* tables, Database* database) {
  Transaction transaction(database);
  if (absl::Status status = transaction.Begin(); !status.ok()) return status;
  const std::string sql =
      absl::StrCat(tables, kRouterTables, "PRAGMA application_id = ", kApplicationId,
                   "; PRAGMA user_version = ", kSchemaVersion, ";");
  if (absl::Status status = database->Execute(sql.c_str()); !status.ok()) return status;
  return transaction.Commit();
}

}  // namespace

absl::Status PrepareSchema(Database* database) {
  const absl::StatusOr<int64_t> tables = database->QueryInt("SELECT count(*) FROM sqlite_schema");
  if (!tables.ok()) return tables.status();
  const absl::StatusOr<int64_t> id = database->QueryInt("PRAGMA application_id");
  if (!id.ok()) return id.status();
  const absl::StatusOr<int64_t> version = database->QueryInt("PRAGMA user_version");
  if (!version.ok()) return version.status();
  if (*tables == 0 && *id == 0 && *version == 0) return CreateTables(kTables, database);
  if (*id != kApplicationId) {
    return absl::DataLossError(
        absl::StrCat(database->path(), ": is a database of another program"));
  }
  if (*version == 1) return CreateTables("", database);
  if (*version != kSchemaVersion) {
    return absl::FailedPreconditionError(absl::StrCat(database->path(), ": has schema version ",
                                                      *version, ", this server reads version ",
                                                      kSchemaVersion));
  }
  return absl::OkStatus();
}

}  // namespace olmoe::state
