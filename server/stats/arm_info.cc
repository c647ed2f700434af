#include "server/stats/arm_info.h"

#include <charconv>
#include <optional>
#include <string>
#include <variant>

#include "absl/strings/str_cat.h"

namespace olmoe::stats {
namespace {

struct Parameters {
  std::string k, alpha, min_k, max_k;
};

std::string Text(std::optional<uint32_t> count) { return count ? absl::StrCat(*count) : ""; }

// The shortest text that reads back as `value`: 0.12 and not 0.12000000000000000.
std::string Text(double value) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  return std::string(digits, end);
}

struct ParametersOf {
  Parameters operator()(const std::monostate&) const { return {}; }
  Parameters operator()(const routing::TopK& rule) const {
    return {absl::StrCat(rule.k), "", "", ""};
  }
  Parameters operator()(const routing::BenjaminiHochberg& rule) const {
    return {"", Text(rule.alpha), Text(rule.min_k), Text(rule.max_k)};
  }
  template <class Other>
  Parameters operator()(const Other& rule) const {
    return {"", "", Text(rule.min_k), Text(rule.max_k)};
  }
};

}  // namespace

std::string_view PolicyKind(const routing::PolicySpec& spec) {
  if (!spec.apply) return spec.layer_overrides.empty() ? "native" : "overrides";
  constexpr std::string_view kNames[] = {"none", "top_k", "top_p", "min_p", "bh", "hc"};
  return kNames[spec.apply->kind.index()];
}

Labels ArmInfo(const routing::Arm& arm) {
  const routing::PolicySpec& spec = arm.policy->spec();
  const Parameters parameters =
      spec.apply ? std::visit(ParametersOf(), spec.apply->kind) : Parameters();
  return {{"arm", arm.arm_id},
          {"policy", spec.policy_id},
          {"kind", std::string(PolicyKind(spec))},
          {"digest", arm.policy->digest()},
          {"k", parameters.k},
          {"alpha", parameters.alpha},
          {"min_k", parameters.min_k},
          {"max_k", parameters.max_k}};
}

}  // namespace olmoe::stats
