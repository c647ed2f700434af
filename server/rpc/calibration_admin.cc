#include "server/rpc/calibration_admin.h"

#include <functional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/routing/calibration_use.h"
#include "server/routing/controller.h"
#include "server/routing/field_checks.h"
#include "server/util/status_details.h"

namespace olmoe::rpc {
namespace {

using Ids = std::set<std::string, std::less<>>;

// Those that come back, one after the other, as times to live end. A plan that can not be
// found any more is not needed either: the model's own routing comes back then.
void AddFallbacks(const routing::RoutingController& controller, Ids* ids) {
  routing::PlanRecord record = *controller.CurrentRecord();
  while (record.has_ttl() && record.older_fallback() > 0) {
    absl::StatusOr<routing::PlanRecord> fallback =
        controller.history().Find(record.older_fallback());
    if (!fallback.ok()) return;
    record = *std::move(fallback);
    ids->merge(routing::CalibrationsOf(record.spec));
  }
}

// Of the current plan, of what replaces it when its time to live ends, and of those that
// still have requests.
Ids IdsInUse(const ServiceContext& context) {
  Ids ids = routing::CalibrationsOf(context.controller->slot().Current()->spec());
  for (const routing::DrainingPlan& old : context.controller->slot().Draining()) {
    ids.merge(routing::CalibrationsOf(old.plan->spec()));
  }
  AddFallbacks(*context.controller, &ids);
  return ids;
}

v1::CalibrationInfo ToProto(const routing::Calibration& calibration, const Ids& in_use) {
  v1::CalibrationInfo out;
  out.set_calibration_id(calibration.calibration_id());
  out.set_digest(calibration.digest());
  out.set_num_layers(static_cast<uint32_t>(calibration.num_layers()));
  out.set_tokens(calibration.num_tokens());
  out.set_trim_top(static_cast<uint32_t>(calibration.trim_top()));
  out.set_in_use(in_use.contains(calibration.calibration_id()));
  return out;
}

absl::Status RemoveUnused(const std::string& calibration_id, const ServiceContext& context) {
  if (IdsInUse(context).contains(calibration_id)) {
    return WithPrecondition(
        absl::FailedPreconditionError(absl::StrCat(
            "calibration \"", calibration_id,
            "\" is in use: the current plan names it, or one that still has requests or comes "
            "back when a time to live ends")),
        "CALIBRATION_IN_USE", "calibrations/" + calibration_id);
  }
  return context.calibrations->Remove(calibration_id);
}

}  // namespace

absl::StatusOr<v1::CalibrationInfo> AddCalibration(
    std::shared_ptr<const routing::Calibration> calibration, const ServiceContext& context) {
  if (absl::Status status = context.calibrations->Add(calibration); !status.ok()) return status;
  return ToProto(*calibration, IdsInUse(context));
}

v1::ListCalibrationsResponse ListCalibrations(const ServiceContext& context) {
  const Ids in_use = IdsInUse(context);
  v1::ListCalibrationsResponse response;
  for (const auto& calibration : context.calibrations->List()) {
    *response.add_calibrations() = ToProto(*calibration, in_use);
  }
  return response;
}

absl::StatusOr<std::shared_ptr<const routing::Calibration>> FindCalibration(
    const std::string& calibration_id, const ServiceContext& context) {
  std::vector<FieldViolation> violations;
  routing::CheckCalibrationId(calibration_id, "calibration_id", &violations);
  if (!violations.empty()) return InvalidFields(violations);
  auto calibration = context.calibrations->Find(calibration_id);
  if (calibration == nullptr) {
    return absl::NotFoundError(absl::StrCat("there is no calibration \"", calibration_id, "\""));
  }
  return calibration;
}

absl::StatusOr<v1::DeleteCalibrationResponse> DeleteCalibration(
    const v1::DeleteCalibrationRequest& request, const ServiceContext& context) {
  const auto found = FindCalibration(request.calibration_id(), context);
  if (!found.ok()) return found.status();
  absl::Status status = context.controller->BetweenPatches(
      [&] { return RemoveUnused(request.calibration_id(), context); });
  if (!status.ok()) return status;
  return v1::DeleteCalibrationResponse();
}

}  // namespace olmoe::rpc
