#include "server/api/calibration_upload.h"

#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/routing/field_checks.h"

namespace olmoe::api {
namespace {

constexpr int kMaxViolations = 64;
// 1 - cdf is off by half a unit in the last place of 1 at most; the rest is generous.
constexpr double kRounding = 1e-12;

void AddAll(std::vector<FieldViolation> violations, RequestErrors* errors) {
  for (FieldViolation& violation : violations) {
    errors->Add(std::move(violation.field), std::move(violation.description));
  }
}

// Written so that NaN fails.
bool IsPoint(double value, double at_most) { return value >= 0 && value <= at_most; }

// The first bad point only, as CheckCdf does.
void CheckSurvival(const v1::LayerCdf& layer, const std::string& prefix, RequestErrors* errors) {
  if (layer.survival_size() == 0) return;
  double previous = 1;
  for (int i = 0; i < layer.survival_size(); ++i) {
    if (!IsPoint(layer.survival(i), previous)) {
      errors->Add(absl::StrCat(prefix, ".survival[", i, "]"),
                  absl::StrCat("must be in [0, 1] and not above the point before it (", previous,
                               "), is ", layer.survival(i)));
      return;
    }
    previous = layer.survival(i);
  }
  if (layer.cdf_size() == 0) return;
  if (layer.cdf_size() != layer.survival_size()) {
    errors->Add(prefix + ".survival",
                absl::StrCat("must have as many points as cdf (", layer.cdf_size(), "), has ",
                             layer.survival_size()));
    return;
  }
  for (int i = 0; i < layer.cdf_size(); ++i) {
    if (std::abs(1 - layer.cdf(i) - layer.survival(i)) <= kRounding) continue;
    errors->Add(absl::StrCat(prefix, ".survival[", i, "]"),
                absl::StrCat("must be 1 - cdf (", 1 - layer.cdf(i), "), is ", layer.survival(i)));
    return;
  }
}

std::vector<double> CdfOf(const v1::LayerCdf& layer) {
  if (layer.cdf_size() > 0) return {layer.cdf().begin(), layer.cdf().end()};
  std::vector<double> cdf;
  cdf.reserve(static_cast<size_t>(layer.survival_size()));
  for (const double survival : layer.survival()) cdf.push_back(1 - survival);
  return cdf;
}

routing::CdfTable TableOf(const v1::LayerCdf& layer) {
  if (layer.survival_size() == 0) {
    return routing::CdfTable::FromCdf(layer.x0(), layer.dx(), CdfOf(layer));
  }
  return {layer.x0(), layer.dx(), {layer.survival().begin(), layer.survival().end()}};
}

}  // namespace

void CalibrationUpload::CheckId(const v1::PutCalibrationRequest& message,
                                const std::string& prefix) {
  if (num_messages_ == 0) {
    options_.calibration_id = message.calibration_id();
    std::vector<FieldViolation> violations;
    routing::CheckLongName(message.calibration_id(), prefix + "calibration_id", &violations);
    AddAll(std::move(violations), &errors_);
  } else if (!message.calibration_id().empty() &&
             message.calibration_id() != options_.calibration_id) {
    errors_.Add(prefix + "calibration_id", "must be in the first message only");
  }
}

void CalibrationUpload::AddLayer(const v1::LayerCdf& layer, const std::string& prefix) {
  if (layer.layer() >= static_cast<uint32_t>(num_layers_)) {
    errors_.Add(prefix + ".layer",
                absl::StrCat("must be 0..", num_layers_ - 1, ", is ", layer.layer()));
  } else if (const auto [first, is_new] =
                 message_of_layer_.try_emplace(static_cast<int>(layer.layer()), num_messages_);
             !is_new) {
    errors_.Add(prefix + ".layer", absl::StrCat("layer ", layer.layer(), " is in messages[",
                                                first->second, "] already"));
  }
  std::vector<FieldViolation> violations;
  const int errors_before = errors_.num_added();
  CheckSurvival(layer, prefix, &errors_);
  // What cdf would be told is told of the survival that it was made of.
  if (layer.cdf_size() > 0 || errors_.num_added() == errors_before) {
    routing::CheckCdf(layer.x0(), layer.dx(), CdfOf(layer), prefix, &violations);
  }
  AddAll(std::move(violations), &errors_);
  if (errors_.empty()) options_.tables.emplace(static_cast<int>(layer.layer()), TableOf(layer));
}

void CalibrationUpload::Add(const v1::PutCalibrationRequest& message) {
  if (is_hopeless()) return;
  const std::string prefix = absl::StrCat("messages[", num_messages_, "].");
  CheckId(message, prefix);
  if (message.has_layer_cdf()) {
    AddLayer(message.layer_cdf(), prefix + "layer_cdf");
  } else if (num_messages_ > 0) {
    errors_.Add(prefix + "layer_cdf", "must be set");
  }
  if (!errors_.empty()) options_.tables.clear();
  ++num_messages_;
}

bool CalibrationUpload::is_hopeless() const { return errors_.num_added() >= kMaxViolations; }

void CalibrationUpload::AddMissingLayers() {
  std::vector<int> missing;
  for (int layer = 0; layer < num_layers_; ++layer) {
    if (!message_of_layer_.contains(layer)) missing.push_back(layer);
  }
  if (missing.empty()) return;
  errors_.Add("layer_cdf", absl::StrCat("must come for every layer of the model, is missing for ",
                                        absl::StrJoin(missing, ", ")));
}

absl::StatusOr<std::shared_ptr<const routing::Calibration>> CalibrationUpload::Finish() {
  if (num_messages_ == 0) errors_.Add("calibration_id", "must be in the first message");
  if (!is_hopeless()) AddMissingLayers();
  if (!errors_.empty()) return errors_.ToStatus();
  return routing::Calibration::Create(std::move(options_));
}

v1::LayerCdf ToProto(int layer, const routing::CdfTable& table) {
  v1::LayerCdf out;
  out.set_layer(static_cast<uint32_t>(layer));
  out.set_x0(table.x0);
  out.set_dx(table.dx);
  for (const double survival : table.survival) out.add_cdf(1 - survival);
  out.mutable_survival()->Add(table.survival.begin(), table.survival.end());
  return out;
}

v1::CalibrationInfo ToProto(const routing::Calibration& calibration,
                            const std::set<std::string, std::less<>>& in_use) {
  v1::CalibrationInfo out;
  out.set_calibration_id(calibration.calibration_id());
  out.set_digest(calibration.digest());
  out.set_num_layers(static_cast<uint32_t>(calibration.num_layers()));
  out.set_tokens(calibration.num_tokens());
  out.set_trim_top(static_cast<uint32_t>(calibration.trim_top()));
  out.set_in_use(in_use.contains(calibration.calibration_id()));
  return out;
}

}  // namespace olmoe::api
