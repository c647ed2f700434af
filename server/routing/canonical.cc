#include "server/routing/canonical.h"

#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "glog/logging.h"

namespace olmoe::routing {
namespace {

// Enough digits that different doubles give different text.
std::string Number(double value) { return absl::StrFormat("%.17g", value); }

template <typename Kind>
std::string BoundsText(const Kind& kind) {
  return absl::StrCat(" min_k=", kind.min_k.value(), " max_k=", kind.max_k.value());
}

// What decides the count, but for the temperature.
class CountText {
 public:
  explicit CountText(std::string_view calibration_digest) : calibration_(calibration_digest) {}

  std::string operator()(const std::monostate&) const { LOG(FATAL) << "a rule of no kind"; }
  std::string operator()(const TopK& rule) const { return absl::StrCat("top_k k=", rule.k); }
  std::string operator()(const TopP& rule) const {
    return absl::StrCat("top_p p=", Number(rule.p), BoundsText(rule));
  }
  std::string operator()(const MinP& rule) const {
    return absl::StrCat("min_p ratio=", Number(rule.ratio), BoundsText(rule));
  }
  std::string operator()(const BenjaminiHochberg& rule) const {
    return absl::StrCat("bh alpha=", Number(rule.alpha), BoundsText(rule), PValueText(rule));
  }
  std::string operator()(const HigherCriticism& rule) const {
    return absl::StrCat("hc beta=", rule.beta ? Number(*rule.beta) : "auto", BoundsText(rule),
                        PValueText(rule));
  }

 private:
  template <typename Kind>
  std::string PValueText(const Kind& kind) const {
    if (kind.p_value == PValueKind::kOneMinusProb) return " p_value=one_minus_prob";
    return absl::StrCat(" p_value=layer_cdf calibration=", calibration_);
  }

  const std::string calibration_;
};

// " temperature=..." where the kind has one and it has an effect.
std::string TemperatureText(const Rule& rule, bool weights_matter) {
  return std::visit(
      [weights_matter](const auto& kind) -> std::string {
        if constexpr (requires { kind.temperature; }) {
          if (weights_matter || kind.p_value == PValueKind::kOneMinusProb) {
            return absl::StrCat(" temperature=", Number(kind.temperature));
          }
        }
        return "";
      },
      rule.kind);
}

std::string_view WeightModeText(WeightMode mode) {
  switch (mode) {
    case WeightMode::kNative:
      return "native";
    case WeightMode::kSumToOne:
      return "sum_to_one";
    case WeightMode::kMatchTopKMass:
      return "match_top_k_mass";
    case WeightMode::kModelDefault:
      break;
  }
  LOG(FATAL) << "a rule was not made by MakeLayerRule";
}

}  // namespace

std::string CanonicalApply(const Rule& rule, std::string_view calibration_digest) {
  return absl::StrCat(std::visit(CountText(calibration_digest), rule.kind),
                      TemperatureText(rule, /*weights_matter=*/true), " weights=",
                      std::string(WeightModeText(rule.weight_mode)));
}

std::string CanonicalAnalyze(const Rule& rule, std::string_view calibration_digest) {
  return absl::StrCat(std::visit(CountText(calibration_digest), rule.kind),
                      TemperatureText(rule, /*weights_matter=*/false));
}

std::string CanonicalShape(const RouterShape& shape) {
  return absl::StrCat("layers=", shape.num_layers, " experts=", shape.num_experts,
                      " default_k=", shape.default_k);
}

}  // namespace olmoe::routing
