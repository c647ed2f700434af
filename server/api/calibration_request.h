#ifndef OLMOE_SERVER_API_CALIBRATION_REQUEST_H_
#define OLMOE_SERVER_API_CALIBRATION_REQUEST_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "olmoe/v1/admin.pb.h"
#include "server/engine/request.h"
#include "server/experiment/calibration_build.h"
#include "server/experiment/serving.h"
#include "server/util/token_id.h"

namespace olmoe::api {

// Errors: INVALID_ARGUMENT with every violation; then FAILED_PRECONDITION (texts without
// a tokenizer), ALREADY_EXISTS (live tokens under a name that is taken: they would not
// be the same again).
absl::StatusOr<experiment::CalibrationInput> ParseBuildCalibration(
    const v1::BuildCalibrationRequest& request, const experiment::Serving& serving);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_CALIBRATION_REQUEST_H_
