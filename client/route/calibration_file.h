#ifndef OLMOE_CLIENT_ROUTE_CALIBRATION_FILE_H_
#define OLMOE_CLIENT_ROUTE_CALIBRATION_FILE_H_

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "server/routing/calibration.h"

namespace olmoe::client::route {

// (calibration, layer) -> table. The calibration is "" where the file does not name it.
using CdfTables = std::map<std::pair<std::string, int>, routing::CdfTable>;

// The tables in `text`: JSON values, one a line or one altogether. A value is a table
// {"calibration", "layer", "x0", "dx", "cdf"[, "survival"]}, an array of tables, or {"calibration",
// "layers": [TABLE, ...]} as `olmoectl calibration get` prints it. "calibration" may be
// absent, and "layer" too: then it is the table's place in its array. Errors:
// INVALID_ARGUMENT naming the line and the field.
absl::StatusOr<CdfTables> ParseCdfTables(std::string_view text);

// The table of a layer: of this calibration, or of a file that names none. Null where
// there is none.
const routing::CdfTable* FindTable(const CdfTables& tables, const std::string& calibration,
                                   int layer);

}  // namespace olmoe::client::route

#endif  // OLMOE_CLIENT_ROUTE_CALIBRATION_FILE_H_
