#include "server/experiment/calibrations.h"

#include "server/experiment/named_items.h"

namespace olmoe::experiment {

routing::Names CalibrationsInUse(const Serving& serving) {
  return NamesInUse(serving, routing::CalibrationsOf);
}

absl::StatusOr<std::shared_ptr<const routing::Calibration>> FindCalibration(
    const std::string& calibration_id, const Serving& serving) {
  return FindItem(*serving.calibrations, calibration_id);
}

absl::Status DeleteCalibration(const std::string& calibration_id, const Serving& serving) {
  return DeleteItem(serving.calibrations, calibration_id, serving, routing::CalibrationsOf);
}

}  // namespace olmoe::experiment
