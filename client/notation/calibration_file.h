#ifndef OLMOE_CLIENT_NOTATION_CALIBRATION_FILE_H_
#define OLMOE_CLIENT_NOTATION_CALIBRATION_FILE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::notation {

// The tables of a calibration, from JSON: {"layers": [TABLE, ...]}, or the array
// alone. A TABLE is {"x0", "dx", "cdf"} or, as published tables have it, {"x", "cdf"}
// with evenly spaced x; "survival" may stand beside cdf and is then what counts;
// "layer" says which layer it is, without: its place in the array. INVALID_ARGUMENT
// names every table that is wrong and why; whether the values make a distribution is
// the server's to say.
absl::StatusOr<std::vector<v1::LayerCdf>> ParseCalibration(std::string_view json);

// JSON that ParseCalibration reads, every double exactly; one line a layer.
std::string FormatCalibration(const std::string& calibration_id,
                              const std::vector<v1::LayerCdf>& layers);

}  // namespace olmoe::client::notation

#endif  // OLMOE_CLIENT_NOTATION_CALIBRATION_FILE_H_
