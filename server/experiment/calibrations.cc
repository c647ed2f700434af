#include "server/experiment/calibrations.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/routing/calibration_use.h"
#include "server/routing/controller.h"
#include "server/routing/field_checks.h"
#include "server/util/status_details.h"

namespace olmoe::experiment {
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

absl::Status RemoveUnused(const std::string& calibration_id, const Serving& serving) {
  if (CalibrationsInUse(serving).contains(calibration_id)) {
    return WithPrecondition(
        absl::FailedPreconditionError(absl::StrCat(
            "calibration \"", calibration_id,
            "\" is in use: the current plan names it, or one that still has requests or comes "
            "back when a time to live ends")),
        "CALIBRATION_IN_USE", "calibrations/" + calibration_id);
  }
  return serving.calibrations->Remove(calibration_id);
}

}  // namespace

std::set<std::string, std::less<>> CalibrationsInUse(const Serving& serving) {
  Ids ids = routing::CalibrationsOf(serving.controller->slot().Current()->spec());
  for (const routing::DrainingPlan& old : serving.controller->slot().Draining()) {
    ids.merge(routing::CalibrationsOf(old.plan->spec()));
  }
  AddFallbacks(*serving.controller, &ids);
  return ids;
}

absl::StatusOr<std::shared_ptr<const routing::Calibration>> FindCalibration(
    const std::string& calibration_id, const Serving& serving) {
  std::vector<FieldViolation> violations;
  routing::CheckCalibrationId(calibration_id, "calibration_id", &violations);
  if (!violations.empty()) return InvalidFields(violations);
  auto calibration = serving.calibrations->Find(calibration_id);
  if (calibration == nullptr) {
    return absl::NotFoundError(absl::StrCat("there is no calibration \"", calibration_id, "\""));
  }
  return calibration;
}

absl::Status DeleteCalibration(const std::string& calibration_id, const Serving& serving) {
  const auto found = FindCalibration(calibration_id, serving);
  if (!found.ok()) return found.status();
  return serving.controller->BetweenPatches([&] { return RemoveUnused(calibration_id, serving); });
}

}  // namespace olmoe::experiment
