#include "server/rpc/routing_admin.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/engine.h"
#include "server/routing/controller.h"
#include "server/rpc/conversions.h"
#include "server/rpc/plan_check.h"
#include "server/rpc/probe.h"
#include "server/rpc/request_errors.h"
#include "server/rpc/routing_proto.h"
#include "server/rpc/service_context.h"

namespace olmoe::rpc {
namespace {

std::string_view OutcomeName(const absl::StatusOr<routing::PatchResult>& result) {
  if (absl::IsAborted(result.status())) return "conflict";
  if (!result.ok()) return "rejected";
  return result->changed ? "applied" : "unchanged";
}

void Report(const absl::StatusOr<routing::PatchResult>& result, const ServiceContext& context) {
  if (!context.on_swap) return;
  context.on_swap({OutcomeName(result),
                   result.ok() ? result->swap_duration : absl::ZeroDuration()});
}

std::optional<absl::Duration> ParseWait(bool has_wait, const google::protobuf::Duration& wait,
                                        RequestErrors* errors) {
  if (!has_wait) return std::nullopt;
  const std::optional<absl::Duration> duration = FromProto(wait);
  if (!duration) errors->Add("wait_for_drain", "must be a duration >= 0");
  return duration;
}

// Silently leaving out what protects a patch would be worse than refusing it.
absl::Status RefuseMissingFeatures(const v1::PatchRoutersRequest& request) {
  const char* missing = !request.idempotency_key().empty() ? "idempotency_key"
                        : request.has_ttl()                ? "ttl"
                                                           : nullptr;
  if (missing == nullptr) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(missing, " is not supported by this server"));
}

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
                                           absl::Time deadline, const ServiceContext& context,
                                           PlanFindings* findings) {
  RequestErrors errors;
  routing::PatchOptions options;
  routing::PlanSpec plan = ParseTarget(request, &options, &errors);
  if (request.has_expected_generation()) {
    options.expected_generation = request.expected_generation();
  }
  options.validate_only = request.validate_only();
  options.wait_for_drain =
      ParseWait(request.has_wait_for_drain(), request.wait_for_drain(), &errors);
  errors.Add(RefuseMissingFeatures(request));
  std::optional<ProbeInput> probe;
  if (request.has_probe()) probe = ParseProbe(request.probe(), context, &errors);
  if (!errors.empty()) return errors.ToStatus();
  options.check = MakePlanCheck(std::move(probe), deadline, context, findings);
  return context.controller->Patch(std::move(plan), options);
}

absl::StatusOr<routing::PatchResult> Unpatch(const v1::UnpatchRoutersRequest& request,
                                             const ServiceContext& context) {
  RequestErrors errors;
  routing::PatchOptions options;
  if (request.has_expected_generation()) {
    options.expected_generation = request.expected_generation();
  }
  options.wait_for_drain =
      ParseWait(request.has_wait_for_drain(), request.wait_for_drain(), &errors);
  if (!errors.empty()) return errors.ToStatus();
  return context.controller->Unpatch(options);
}

int64_t InFlight(const routing::RoutingPlan& plan, const ServiceContext& context) {
  return context.controller->slot().InFlight(plan.generation());
}

absl::StatusOr<v1::PatchRoutersResponse> ToResponse(
    const absl::StatusOr<routing::PatchResult>& result, const ServiceContext& context) {
  Report(result, context);
  if (!result.ok()) return result.status();
  v1::PatchRoutersResponse response;
  *response.mutable_current() = ToProto(*result->current, InFlight(*result->current, context));
  response.set_previous_generation(result->previous_generation);
  response.set_in_flight_on_previous(static_cast<uint64_t>(result->in_flight_on_previous));
  *response.mutable_swap_duration() = ToProto(result->swap_duration);
  response.set_changed(result->changed);
  response.mutable_warnings()->Add(result->warnings.begin(), result->warnings.end());
  return response;
}

}  // namespace

absl::StatusOr<v1::PatchRoutersResponse> PatchRouters(const v1::PatchRoutersRequest& request,
                                                      absl::Time deadline,
                                                      const ServiceContext& context) {
  PlanFindings findings;
  absl::StatusOr<v1::PatchRoutersResponse> response =
      ToResponse(Patch(request, deadline, context, &findings), context);
  if (response.ok()) AddFindings(findings, &*response);
  return response;
}

absl::StatusOr<v1::PatchRoutersResponse> UnpatchRouters(const v1::UnpatchRoutersRequest& request,
                                                        const ServiceContext& context) {
  return ToResponse(Unpatch(request, context), context);
}

v1::GetRoutingResponse GetRouting(const ServiceContext& context) {
  const auto current = context.controller->slot().Current();
  v1::GetRoutingResponse response;
  *response.mutable_current() = ToProto(*current, InFlight(*current, context));
  for (const routing::DrainingPlan& old : context.controller->slot().Draining()) {
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
  v1::DrainResponse response;
  response.set_aborted_requests(
      static_cast<uint32_t>(context.engine->Drain(absl::Now() + *grace)));
  return response;
}

}  // namespace olmoe::rpc
