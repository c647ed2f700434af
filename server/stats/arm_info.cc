#include "server/stats/arm_info.h"

#include <string>

#include "server/routing/rule_fields.h"

namespace olmoe::stats {

std::string_view PolicyKind(const routing::PolicySpec& spec) {
  if (!spec.apply) return spec.layer_overrides.empty() && !spec.decode ? "native" : "overrides";
  return routing::KindName(*spec.apply);
}

Labels ArmInfo(const routing::Arm& arm) {
  const routing::PolicySpec& spec = arm.policy->spec();
  Labels labels = {{"arm", arm.arm_id},
                   {"policy", spec.policy_id},
                   {"kind", std::string(PolicyKind(spec))},
                   {"digest", arm.policy->digest()}};
  for (const char* name : {"k", "alpha", "min_k", "max_k"}) {
    labels.emplace_back(name, spec.apply ? routing::ParameterText(*spec.apply, name) : "");
  }
  return labels;
}

}  // namespace olmoe::stats
