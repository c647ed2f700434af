// Calibrations as JSON, both ways: what `calibration get` writes, and what `calibration put` and
// `route` read.
#ifndef OLMOE_CLIENT_NOTATION_CALIBRATION_FILE_H_
#define OLMOE_CLIENT_NOTATION_CALIBRATION_FILE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::notation {

struct CalibrationTable {
  std::string calibration;  // that it belongs to; empty where the file does not say
  v1::LayerCdf cdf;
  std::string place;  // in the file; begins a message about a field: "line 2: layers[3]."
};

// The tables in `text`: JSON values, one a line or one altogether. A value is a TABLE, an array
// of tables, or {"calibration": "NAME", "layers": [TABLE, ...]}. A TABLE is {"x0", "dx", "cdf"}
// or, as published tables have it, {"x", "cdf"} with evenly spaced x. "survival" may stand beside
// cdf and is then what counts; "layer" says which layer the table is of (without: its place in
// the array), "calibration" which calibration. INVALID_ARGUMENT names every table of a value that
// is wrong and why. Whether the numbers make a distribution is not checked.
absl::StatusOr<std::vector<CalibrationTable>> ParseCalibration(std::string_view text);

// The tables of calibration `name`: in a file of several those that name it, otherwise all.
// INVALID_ARGUMENT where there are none.
absl::StatusOr<std::vector<v1::LayerCdf>> TablesOf(const std::vector<CalibrationTable>& tables,
                                                   const std::string& name);

// JSON that ParseCalibration reads, every double exactly; one line a layer.
std::string FormatCalibration(const std::string& calibration_id,
                              const std::vector<v1::LayerCdf>& layers);

}  // namespace olmoe::client::notation

#endif  // OLMOE_CLIENT_NOTATION_CALIBRATION_FILE_H_
