#include "server/routing/canonical.h"

#include <algorithm>
#include <optional>
#include <variant>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "glog/logging.h"
#include "server/routing/rule_fields.h"

namespace olmoe::routing {
namespace {

std::string ValueOf(uint32_t value) { return absl::StrCat(value); }
// Enough digits that different doubles give different text.
std::string ValueOf(double value) { return absl::StrFormat("%.17g", value); }
std::string ValueOf(const std::string& text) {
  return absl::StrCat("\"", absl::CHexEscape(text), "\"");
}
template <typename Value>
std::string ValueOf(const std::optional<Value>& value) {
  return value ? ValueOf(*value) : "auto";
}

// What decides the count, but for the temperature.
class CountText {
 public:
  explicit CountText(std::string_view calibration_digest) : calibration_(calibration_digest) {}

  template <typename Kind>
  std::string Of(const Kind& kind) const {
    return absl::StrCat(Description<Kind>::kName, FieldsOf(kind));
  }

 private:
  template <typename Owner>
  std::string FieldsOf(const Owner& owner) const {
    std::string text;
    ForEachEntry(
        owner,
        [&](const auto& field, const auto& value) {
          absl::StrAppend(&text, " ", field.name, "=", ValueOf(value));
        },
        [&](const auto& part) { text += PartText(part); });
    return text;
  }

  std::string PartText(const Bounds& bounds) const { return FieldsOf(bounds); }
  std::string PartText(const MaybePValues& p_values) const {
    return p_values.calibration_id.empty() ? "" : absl::StrCat(" calibration=", calibration_);
  }
  std::string PartText(const PValueSource& p_values) const {
    if (p_values.kind == PValueKind::kOneMinusProb) return " p_value=one_minus_prob";
    return absl::StrCat(" p_value=layer_cdf calibration=", calibration_);
  }

  const std::string calibration_;
};

std::string CountTextOf(const Rule& rule, std::string_view calibration_digest) {
  CHECK(!std::holds_alternative<std::monostate>(rule.kind)) << "a rule of no kind";
  const CountText text(calibration_digest);
  return std::visit([&text](const auto& kind) { return text.Of(kind); }, rule.kind);
}

std::string IdsOf(std::vector<uint32_t> ids) {
  std::sort(ids.begin(), ids.end());
  return absl::StrJoin(ids, "+");
}

// " bias=... ban=..." of what has an effect; "" for most rules, which keep their digests.
std::string AdjustText(const Adjust& adjust, bool weights_matter) {
  std::string text;
  const auto append = [&text](const char* name, const std::string& value) {
    absl::StrAppend(&text, " ", name, "=", value);
  };
  if (adjust.bias) {
    append("bias", ValueText(adjust.bias->values));
    if (weights_matter) append("bias_scope", ValueText(adjust.bias->scope));
  }
  if (adjust.steer) {
    append("toward", IdsOf(adjust.steer->toward));
    append("away", IdsOf(adjust.steer->away));
    append("epsilon", ValueOf(adjust.steer->epsilon));
  }
  if (adjust.noise) append("noise", ValueOf(adjust.noise->tau));
  if (!adjust.ban.empty()) {
    append("ban", IdsOf(adjust.ban));
    append("ban_mass", ValueText(adjust.ban_mass));
  }
  if (!adjust.force.empty()) append("force", IdsOf(adjust.force));
  return text;
}

// " temperature=..." where the kind has one and it has an effect.
std::string TemperatureText(const Rule& rule, bool weights_matter) {
  const PValueSource* p_values = FindPart<PValueSource>(rule);
  if (p_values == nullptr) return "";
  if (!weights_matter && p_values->kind != PValueKind::kOneMinusProb) return "";
  return absl::StrCat(" temperature=", ValueOf(p_values->temperature));
}

}  // namespace

std::string CanonicalApply(const Rule& rule, std::string_view calibration_digest) {
  CHECK(rule.weight_mode != WeightMode::kModelDefault) << "a rule was not made by MakeLayerRule";
  return absl::StrCat(
      CountTextOf(rule, calibration_digest), TemperatureText(rule, /*weights_matter=*/true),
      " weights=", ValueText(rule.weight_mode), AdjustText(rule.adjust, /*weights_matter=*/true));
}

std::string CanonicalAnalyze(const Rule& rule, std::string_view calibration_digest) {
  return absl::StrCat(CountTextOf(rule, calibration_digest),
                      TemperatureText(rule, /*weights_matter=*/false),
                      AdjustText(rule.adjust, /*weights_matter=*/false));
}

std::string CanonicalShape(const RouterShape& shape) {
  return absl::StrCat("layers=", shape.num_layers, " experts=", shape.num_experts,
                      " default_k=", shape.default_k);
}

}  // namespace olmoe::routing
