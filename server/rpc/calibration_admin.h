// Calibrations by name: what the calls that list, add and delete them do.
#ifndef OLMOE_SERVER_RPC_CALIBRATION_ADMIN_H_
#define OLMOE_SERVER_RPC_CALIBRATION_ADMIN_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "olmoe/v1/admin.pb.h"
#include "server/routing/calibration.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {

// Adds it to the server's. May wait for a disk. Errors: ALREADY_EXISTS for a name with
// other tables; those of the set's hooks.
absl::StatusOr<v1::CalibrationInfo> AddCalibration(
    std::shared_ptr<const routing::Calibration> calibration, const ServiceContext& context);

v1::ListCalibrationsResponse ListCalibrations(const ServiceContext& context);

// Errors: INVALID_ARGUMENT for what is no name, NOT_FOUND.
absl::StatusOr<std::shared_ptr<const routing::Calibration>> FindCalibration(
    const std::string& calibration_id, const ServiceContext& context);

// Between two patches, so that no plan can begin to name it meanwhile. May wait for a
// patch and for a disk. Errors: those of FindCalibration; FAILED_PRECONDITION
// (CALIBRATION_IN_USE) while the current plan or one that still has requests names it;
// those of the set's hooks.
absl::StatusOr<v1::DeleteCalibrationResponse> DeleteCalibration(
    const v1::DeleteCalibrationRequest& request, const ServiceContext& context);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_CALIBRATION_ADMIN_H_
