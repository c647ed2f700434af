#ifndef OLMOE_SERVER_EXPERIMENT_CALIBRATIONS_H_
#define OLMOE_SERVER_EXPERIMENT_CALIBRATIONS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/experiment/serving.h"
#include "server/routing/calibration.h"
#include "server/routing/named_use.h"

namespace olmoe::experiment {

// Those that the current plan names, what replaces it when its time to live ends, and the plans
// that still have requests.
routing::Names CalibrationsInUse(const Serving& serving);

// Errors: INVALID_ARGUMENT (field "calibration_id") for what is no name, NOT_FOUND.
absl::StatusOr<std::shared_ptr<const routing::Calibration>> FindCalibration(
    const std::string& calibration_id, const Serving& serving);

// Between two patches, so that no plan can begin to name it meanwhile. May wait for a
// patch and for a disk. Errors: those of FindCalibration; FAILED_PRECONDITION
// (CALIBRATION_IN_USE); those of the set's hooks.
absl::Status DeleteCalibration(const std::string& calibration_id, const Serving& serving);

}  // namespace olmoe::experiment

#endif  // OLMOE_SERVER_EXPERIMENT_CALIBRATIONS_H_
