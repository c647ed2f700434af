#include "server/routing/canonical.h"

#include <optional>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "glog/logging.h"
#include "server/routing/rule_fields.h"

namespace olmoe::routing {
namespace {

std::string ValueOf(uint32_t value) { return absl::StrCat(value); }
// Enough digits that different doubles give different text.
std::string ValueOf(double value) { return absl::StrFormat("%.17g", value); }
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
  return absl::StrCat(CountTextOf(rule, calibration_digest),
                      TemperatureText(rule, /*weights_matter=*/true),
                      " weights=", ValueText(rule.weight_mode));
}

std::string CanonicalAnalyze(const Rule& rule, std::string_view calibration_digest) {
  return absl::StrCat(CountTextOf(rule, calibration_digest),
                      TemperatureText(rule, /*weights_matter=*/false));
}

std::string CanonicalShape(const RouterShape& shape) {
  return absl::StrCat("layers=", shape.num_layers, " experts=", shape.num_experts,
                      " default_k=", shape.default_k);
}

}  // namespace olmoe::routing
