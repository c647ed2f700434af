#include "server/rpc/routing_admin.h"

#include <optional>
#include <string>
#include <utility>

#include "server/engine/engine.h"
#include "server/routing/controller.h"
#include "server/rpc/open_watches.h"
#include "server/rpc/patch_fields.h"
#include "server/rpc/plan_check.h"
#include "server/rpc/probe.h"
#include "server/rpc/request_errors.h"
#include "server/rpc/routing_proto.h"
#include "server/rpc/service_context.h"
#include "server/rpc/time_proto.h"

namespace olmoe::rpc {
namespace {

// A policy for all traffic is a plan of one arm; the controller names its violations
// as the client wrote it.
routing::PlanSpec SinglePolicyPlan(const v1::RoutingPolicy& policy, RequestErrors* errors) {
  routing::PlanSpec plan;
  routing::ArmSpec& arm = plan.arms.emplace_back();
  arm.arm_id = std::string(routing::kDefaultArmId);
  arm.weight = 1;
  arm.policy = ToPolicySpec(policy, "policy", errors);
  return plan;
}

routing::PlanSpec ParseTarget(const v1::PatchRoutersRequest& request,
                              routing::PatchOptions* options, RequestErrors* errors) {
  switch (request.target_case()) {
    case v1::PatchRoutersRequest::kPolicy:
      options->policy_prefix = "policy";
      return SinglePolicyPlan(request.policy(), errors);
    case v1::PatchRoutersRequest::kPlan: return ToPlanSpec(request.plan(), "plan", errors);
    case v1::PatchRoutersRequest::TARGET_NOT_SET: break;
  }
  errors->Add("target", "policy or plan must be set");
  return {};
}

absl::StatusOr<routing::PatchResult> Patch(const v1::PatchRoutersRequest& request,
                                           const ServiceContext& context, std::string actor,
                                           absl::Time deadline, PlanFindings* findings) {
  RequestErrors errors;
  routing::PatchOptions options;
  options.actor = std::move(actor);
  routing::PlanSpec plan = ParseTarget(request, &options, &errors);
  if (request.has_expected_generation()) {
    options.expected_generation = request.expected_generation();
  }
  options.validate_only = request.validate_only();
  options.wait_for_drain =
      ParseWait(request.has_wait_for_drain(), request.wait_for_drain(), &errors);
  if (request.has_ttl()) options.ttl = ParseTtl(request.ttl(), &errors);
  options.idempotency = ParseIdempotencyKey(request, &errors);
  options.idempotency.encode = [&context, findings](const routing::PatchResult& result) {
    v1::PatchRoutersResponse answer = ToProto(result, context);
    AddFindings(*findings, &answer);
    return answer.SerializeAsString();
  };
  std::optional<ProbeInput> probe;
  if (request.has_probe()) probe = ParseProbe(request.probe(), context, &errors);
  if (!errors.empty()) return errors.ToStatus();
  options.check = MakePlanCheck(std::move(probe), deadline, context, findings);
  return context.controller->Patch(std::move(plan), options);
}

absl::StatusOr<routing::PatchResult> Unpatch(const v1::UnpatchRoutersRequest& request,
                                             const ServiceContext& context, std::string actor) {
  RequestErrors errors;
  routing::PatchOptions options;
  options.actor = std::move(actor);
  if (request.has_expected_generation()) {
    options.expected_generation = request.expected_generation();
  }
  options.wait_for_drain =
      ParseWait(request.has_wait_for_drain(), request.wait_for_drain(), &errors);
  if (!errors.empty()) return errors.ToStatus();
  return context.controller->Unpatch(options);
}

}  // namespace

absl::StatusOr<v1::PatchRoutersResponse> PatchRouters(const v1::PatchRoutersRequest& request,
                                                      const ServiceContext& context,
                                                      std::string actor, absl::Time deadline) {
  PlanFindings findings;
  absl::StatusOr<v1::PatchRoutersResponse> response =
      AnswerOf(Patch(request, context, std::move(actor), deadline, &findings), context);
  if (response.ok()) AddFindings(findings, &*response);
  return response;
}

absl::StatusOr<v1::PatchRoutersResponse> UnpatchRouters(const v1::UnpatchRoutersRequest& request,
                                                        const ServiceContext& context,
                                                        std::string actor) {
  return AnswerOf(Unpatch(request, context, std::move(actor)), context);
}

v1::GetRoutingResponse GetRouting(const ServiceContext& context) {
  const routing::PlanSlot& slot = context.controller->slot();
  const auto current = context.controller->CurrentRecord();
  v1::GetRoutingResponse response;
  *response.mutable_current() = ToProto(*current, slot.InFlight(current->generation));
  for (const routing::DrainingPlan& old : slot.Draining()) {
    *response.add_draining() = ToProto(*old.plan, old.in_flight);
  }
  return response;
}

v1::GetServerStatusResponse GetServerStatus(const ServiceContext& context) {
  const engine::EngineStatus status = context.engine->Status();
  v1::GetServerStatusResponse response;
  *response.mutable_start_time() = ToProto(context.start_time);
  response.set_running_requests(static_cast<uint32_t>(status.running_requests));
  response.set_queued_requests(static_cast<uint32_t>(status.queued_requests));
  response.set_kv_cache_used_bytes(static_cast<uint64_t>(status.kv_used_bytes));
  response.set_kv_cache_capacity_bytes(static_cast<uint64_t>(status.kv_capacity_bytes));
  response.set_draining(status.draining);
  for (const engine::EngineStatus::RunningRequest& from : status.requests) {
    v1::RequestStatus* to = response.add_requests();
    to->set_request_id(from.request_id);
    to->set_method(from.method);
    to->mutable_routing()->set_generation(from.generation);
    to->mutable_routing()->set_arm_id(from.arm_id);
    to->set_prompt_tokens(from.prompt_tokens);
    to->set_completion_tokens(from.completion_tokens);
    *to->mutable_age() = ToProto(from.age);
  }
  return response;
}

absl::StatusOr<v1::DrainResponse> Drain(const v1::DrainRequest& request,
                                        const ServiceContext& context) {
  const std::optional<absl::Duration> grace = FromProto(request.grace());
  if (!grace) return InvalidFields({{"grace", "must be a duration >= 0"}});
  if (context.on_drain) context.on_drain();
  context.watches->EndAll();
  v1::DrainResponse response;
  response.set_aborted_requests(
      static_cast<uint32_t>(context.engine->Drain(absl::Now() + *grace)));
  return response;
}

}  // namespace olmoe::rpc
