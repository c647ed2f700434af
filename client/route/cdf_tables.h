#ifndef OLMOE_CLIENT_ROUTE_CDF_TABLES_H_
#define OLMOE_CLIENT_ROUTE_CDF_TABLES_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "client/notation/calibration_file.h"
#include "server/routing/calibration.h"

namespace olmoe::client::route {

// (calibration, layer) -> table. The calibration is "" where the file does not name it.
using CdfTables = std::map<std::pair<std::string, int>, routing::CdfTable>;

// INVALID_ARGUMENT for the first table that is no distribution, or comes twice, naming its place
// in the file and the field.
absl::StatusOr<CdfTables> MakeCdfTables(const std::vector<notation::CalibrationTable>& tables);

// The table of a layer: of this calibration, or of a file that names none. Null where
// there is none.
const routing::CdfTable* FindTable(const CdfTables& tables, const std::string& calibration,
                                   int layer);

}  // namespace olmoe::client::route

#endif  // OLMOE_CLIENT_ROUTE_CDF_TABLES_H_
