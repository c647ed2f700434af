#ifndef OLMOE_SERVER_STATE_SCHEMA_H_
#define OLMOE_SERVER_STATE_SCHEMA_H_

#include "absl/status/status.h"
#include "server/state/sqlite.h"

namespace olmoe::state {

// The layout below; a change of it is a new number.
inline constexpr int kSchemaVersion = 2;

// Makes the tables in an empty file, and those that a file of version 1 has not: the routers'.
// FAILED_PRECONDITION for a file of a later version, DATA_LOSS for one that is none of ours.
absl::Status PrepareSchema(Database* database);

}  // namespace olmoe::state

#endif  // OLMOE_SERVER_STATE_SCHEMA_H_
