#include "client/render/routing.h"

#include <cstdint>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/notation/policy_spec.h"
#include "client/render/format.h"
#include "client/render/table.h"
#include "olmoe/v1/admin.pb.h"
#include "server/routing/rule_words.h"

namespace olmoe::client::render {
namespace {

std::string DescribeRule(const v1::Rule& rule) {
  return routing::DescribeRule(notation::RuleOf(rule));
}

template <typename Ruled>  // a policy or a layer override
std::string DescribeRules(const Ruled& rules) {
  std::string text;
  if (rules.has_apply()) text = DescribeRule(rules.apply());
  if (rules.has_analyze()) {
    absl::StrAppend(&text, text.empty() ? "" : "; ", "analyzing ", DescribeRule(rules.analyze()));
  }
  if (rules.has_decode()) {
    absl::StrAppend(&text, text.empty() ? "" : "; ", "beyond the prompt ",
                    DescribeRule(rules.decode()));
  }
  return text;
}

uint64_t SumOfWeights(const v1::RoutingPlan& plan) {
  return std::accumulate(plan.arms().begin(), plan.arms().end(), uint64_t{0},
                         [](uint64_t total, const v1::Arm& arm) { return total + arm.weight(); });
}

std::string Share(uint32_t weight, uint64_t sum) {
  if (weight == 0 || sum == 0) return "by name";
  return absl::StrCat(FormatFixed(100.0 * weight / static_cast<double>(sum), 1), "%");
}

std::string RenderProbe(const v1::PatchRoutersResponse& response, uint32_t num_layers,
                        const Style& style) {
  using enum Table::Align;
  Table table({{"PROBE OF ARM"},
               {"MAX |DIFFERENCE|", kRight},
               {"KL NATS", kRight},
               {"TOP TOKEN"},
               {"MEAN K", kRight},
               {"ROUTERS COVERED", kRight}});
  for (const v1::ProbeResult& result : response.probe_results()) {
    table.AddRow({result.arm_id(), absl::StrFormat("%.4g", result.max_abs_logit_difference()),
                  absl::StrFormat("%.4g", result.kl_divergence_nats()),
                  result.top1_changed() ? "changed" : "same",
                  FormatFixed(result.mean_experts_per_token(), 2),
                  absl::StrCat(result.layers_covered(),
                               num_layers > 0 ? absl::StrCat(" of ", num_layers) : "")});
  }
  return table.empty() ? "" : table.Render(style);
}

std::string RenderWarnings(const v1::PatchRoutersResponse& response, const Style& style) {
  std::string text;
  for (const auto& warning : response.warnings()) {
    absl::StrAppend(&text, style.Yellow("warning"), ": ", OneLine(warning), "\n");
  }
  return text;
}

std::string RenderArmLines(const v1::RoutingPlan& plan) {
  std::string text;
  for (const auto& arm : plan.arms()) {
    const std::string share = Share(arm.weight(), SumOfWeights(plan));
    absl::StrAppend(&text, "arm ", arm.arm_id(),
                    plan.arms_size() > 1 ? absl::StrCat(" (", share, ")") : "", ": ",
                    DescribePolicy(arm.policy()), "\n");
  }
  return text;
}

}  // namespace

std::string DescribePolicy(const v1::RoutingPolicy& policy) {
  std::string text = DescribeRules(policy);
  for (const auto& layers_rule : policy.layer_overrides()) {
    const std::vector<uint32_t> layers(layers_rule.layers().begin(), layers_rule.layers().end());
    absl::StrAppend(&text, text.empty() ? "" : "; ", DescribeRules(layers_rule), " on layers ",
                    routing::DescribeIds(layers));
  }
  if (text.empty()) text = "the model's own";
  return policy.router().empty() ? text : absl::StrCat(text, "; router ", policy.router());
}

std::string DescribeStamp(const v1::RoutingStamp& stamp) {
  return absl::StrCat("generation ", stamp.generation(), ", arm ", stamp.arm_id(), ", policy ",
                      stamp.policy_id());
}

std::string RenderPlan(const v1::PlanRecord& record, const Style& style) {
  std::string text = absl::StrCat(style.Bold(absl::StrCat("generation ", record.generation())),
                                  " by ", record.source());
  if (!record.actor().empty()) absl::StrAppend(&text, " of ", record.actor());
  if (record.has_activate_time()) {
    absl::StrAppend(&text, ", ", FormatTime(record.activate_time()));
  }
  if (record.has_expire_time()) {
    absl::StrAppend(&text, ", until ", FormatTime(record.expire_time()));
  }
  absl::StrAppend(&text, ", ", record.in_flight_requests(), " in flight, digest ",
                  record.digest().substr(0, kShortDigest), "\n");
  if (!record.plan().note().empty()) {
    absl::StrAppend(&text, "note: ", OneLine(record.plan().note()), "\n");
  }
  Table table({{"ARM"}, {"SHARE", Table::Align::kRight}, {"POLICY"}, {"ROUTING"}});
  const uint64_t sum = SumOfWeights(record.plan());
  for (const auto& arm : record.plan().arms()) {
    table.AddRow({arm.arm_id(), Share(arm.weight(), sum), arm.policy().policy_id(),
                  DescribePolicy(arm.policy())});
  }
  return text + table.Render(style);
}

std::string RenderArms(const v1::RoutingPlan& plan) {
  const uint64_t sum = SumOfWeights(plan);
  std::vector<std::string> arms;
  for (const v1::Arm& arm : plan.arms()) {
    const std::string policy = notation::FormatPolicySpec(arm.policy());
    arms.push_back(plan.arms_size() == 1
                       ? policy
                       : absl::StrCat(arm.arm_id(), " ", Share(arm.weight(), sum), ": ", policy));
  }
  return absl::StrJoin(arms, ", ");
}

std::string RenderDryRun(const v1::PatchRoutersResponse& response, uint32_t num_layers,
                         const Style& style) {
  const v1::PlanRecord& current = response.current();
  const v1::PlanRecord& checked = response.checked();
  return absl::StrCat(
      style.Green("valid"), ": nothing is changed, generation ", current.generation(),
      " stays current\nchecked plan: digest ", checked.digest().substr(0, kShortDigest),
      checked.digest() == current.digest() ? ", which is that of the current plan" : "", "\n",
      RenderWarnings(response, style), RenderArmLines(checked.plan()),
      RenderProbe(response, num_layers, style));
}

std::string RenderPatch(const v1::PatchRoutersResponse& response, uint32_t num_layers,
                        const Style& style) {
  std::string text;
  if (response.changed()) {
    absl::StrAppend(&text, style.Green("patched"), ": generation ", response.previous_generation(),
                    " -> ", response.current().generation(), ", admission blocked for ",
                    FormatDuration(response.swap_duration()), ", ",
                    response.in_flight_on_previous(), " still on generation ",
                    response.previous_generation(), "\n");
  } else {
    absl::StrAppend(&text, "unchanged: generation ", response.previous_generation(), "\n");
  }
  if (!response.current().digest().empty()) {
    absl::StrAppend(&text, "digest ", response.current().digest().substr(0, kShortDigest),
                    response.current().has_expire_time()
                        ? absl::StrCat(", until ", FormatTime(response.current().expire_time()))
                        : "",
                    "\n");
  }
  return absl::StrCat(text, RenderWarnings(response, style),
                      RenderArmLines(response.current().plan()),
                      RenderProbe(response, num_layers, style));
}

}  // namespace olmoe::client::render
