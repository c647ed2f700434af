#include "server/rpc/routing_choice.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/routing/controller.h"
#include "server/rpc/routing_proto.h"

namespace olmoe::rpc {
namespace {

std::shared_ptr<const routing::RoutingPolicy> CompileInline(const v1::RoutingPolicy& policy,
                                                            const ServiceContext& context,
                                                            RequestErrors* errors) {
  if (!context.allow_inline_policy) {
    errors->Add(WithErrorInfo(
        absl::PermissionDeniedError("this server does not take inline policies "
                                    "(it was started without --allow-inline-policy)"),
        "INLINE_POLICY_NOT_ALLOWED"));
    return nullptr;
  }
  constexpr char kField[] = "routing.policy";
  auto compiled = routing::RoutingPolicy::Create(ToPolicySpec(policy, kField, errors),
                                                 context.controller->shape(),
                                                 context.calibrations, kField);
  errors->Add(compiled.status());
  return compiled.ok() ? *std::move(compiled) : nullptr;
}

absl::StatusOr<routing::Assignment> Assign(const RoutingChoice& choice,
                                           const std::string& request_id,
                                           const routing::RoutingPlan& plan) {
  if (choice.inline_policy != nullptr) {
    return routing::Assignment{std::string(kInlineArm), choice.inline_policy,
                               routing::AssignmentReason::kInlinePolicy};
  }
  if (choice.arm_id) return plan.AssignExplicit(*choice.arm_id);
  return plan.Assign(choice.unit_id, request_id);
}

}  // namespace

RoutingChoice ParseRouting(const v1::RoutingSelector& selector, const std::string& unit_id,
                           const ServiceContext& context, RequestErrors* errors) {
  RoutingChoice choice;
  choice.unit_id = unit_id;
  if (unit_id.size() > kMaxUnitIdBytes) {
    errors->Add("unit_id", absl::StrCat("must be at most ", kMaxUnitIdBytes, " bytes, is ",
                                        unit_id.size()));
  }
  if (selector.choice_case() == v1::RoutingSelector::kArmId) choice.arm_id = selector.arm_id();
  if (selector.choice_case() == v1::RoutingSelector::kPolicy) {
    choice.inline_policy = CompileInline(selector.policy(), context, errors);
  }
  return choice;
}

absl::StatusOr<Admission> Admit(const RoutingChoice& choice, const std::string& request_id,
                                const ServiceContext& context) {
  Admission admission;
  admission.pin = context.controller->slot().Pin();
  absl::StatusOr<routing::Assignment> assignment = Assign(choice, request_id, *admission.pin);
  if (!assignment.ok()) return assignment.status();
  admission.assignment = *std::move(assignment);
  admission.stamp = ToProto(admission.pin->generation(), admission.assignment);
  return admission;
}

}  // namespace olmoe::rpc
