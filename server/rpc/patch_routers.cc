// PatchRouters, UnpatchRouters, RollbackRouting and RenewRouting: what changes the plan.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/api/patch_request.h"
#include "server/api/request_errors.h"
#include "server/api/routing_proto.h"
#include "server/api/time_proto.h"
#include "server/experiment/probe.h"
#include "server/routing/controller.h"
#include "server/rpc/admin_calls.h"

namespace olmoe::rpc {
namespace {

// An arm or an analyzed rule costs memory in Prometheus. Two arms of 64 experts and 16 layers, as most
// experiments have, are 2,752 series, which no Prometheus notices; who goes beyond this number should
// know, once.
constexpr int64_t kManySeries = 5000;

std::vector<std::string> SeriesWarnings(const routing::RoutingPlan& plan,
                                        const AdminContext& context) {
  if (!context.count_series) return {};
  const int64_t series = context.count_series(plan);
  const int64_t before = context.count_series(*context.serving->controller->slot().Current());
  if (series <= std::max(kManySeries, before)) return {};
  return {absl::StrCat("the routers of this plan's arms export ", series,
                       " Prometheus series, those of the current ", "plan ", before,
                       "; --expert-metrics=layer exports fewer, --expert-metrics=off none")};
}

std::string_view OutcomeName(const absl::StatusOr<routing::PatchResult>& result) {
  if (absl::IsAborted(result.status())) return "conflict";
  if (!result.ok()) return "rejected";
  return result->changed && !result->is_repeated ? "published" : "unchanged";
}

// The answer to a call that may have been refused; counts it.
absl::StatusOr<v1::PatchRoutersResponse> AnswerTo(
    const absl::StatusOr<routing::PatchResult>& result, const AdminContext& context) {
  if (context.on_swap) {
    context.on_swap(OutcomeName(result),
                    result.ok() ? result->swap_duration : absl::ZeroDuration());
  }
  if (!result.ok()) return result.status();
  return api::ToProto(*result);
}

absl::StatusOr<routing::PatchResult> Patch(api::PatchRequest patch, const AdminContext& context,
                                           std::string actor, absl::Time deadline) {
  const experiment::Serving& serving = *context.serving;
  patch.options.actor = std::move(actor);
  patch.options.examine =
      [&](const routing::RoutingPlan& candidate) -> absl::StatusOr<routing::PlanFindings> {
    routing::PlanFindings findings;
    findings.warnings = SeriesWarnings(candidate, context);
    if (!patch.probe) return findings;
    auto results = experiment::RunProbe(candidate, *patch.probe, deadline, serving);
    if (!results.ok()) return results.status();
    findings.probe_results = *std::move(results);
    return findings;
  };
  return patch.AsNamed(serving.controller->Patch(std::move(patch.plan), patch.options));
}

}  // namespace

absl::StatusOr<v1::PatchRoutersResponse> PatchRouters(const v1::PatchRoutersRequest& request,
                                                      const AdminContext& context,
                                                      std::string actor, absl::Time deadline) {
  absl::StatusOr<api::PatchRequest> patch = api::ParsePatch(request, *context.serving);
  if (!patch.ok()) return AnswerTo(patch.status(), context);
  return AnswerTo(Patch(*std::move(patch), context, std::move(actor), deadline), context);
}

absl::StatusOr<v1::PatchRoutersResponse> UnpatchRouters(const v1::UnpatchRoutersRequest& request,
                                                        const AdminContext& context,
                                                        std::string actor) {
  absl::StatusOr<routing::PatchOptions> options = api::ParseUnpatch(request);
  if (!options.ok()) return AnswerTo(options.status(), context);
  options->actor = std::move(actor);
  return AnswerTo(context.serving->controller->Unpatch(*options), context);
}

absl::StatusOr<v1::PatchRoutersResponse> RollbackRouting(const v1::RollbackRoutingRequest& request,
                                                         const AdminContext& context,
                                                         std::string actor) {
  absl::StatusOr<routing::PatchOptions> options = api::ParseRollback(request);
  if (!options.ok()) return AnswerTo(options.status(), context);
  options->actor = std::move(actor);
  std::optional<uint64_t> to_generation;
  if (request.has_to_generation()) to_generation = request.to_generation();
  return AnswerTo(context.serving->controller->Rollback(to_generation, *options), context);
}

absl::StatusOr<v1::RenewRoutingResponse> RenewRouting(const v1::RenewRoutingRequest& request,
                                                      const AdminContext& context) {
  api::RequestErrors errors;
  const absl::Duration ttl = api::ParseTtl(request.ttl(), &errors);
  if (!errors.empty()) return errors.ToStatus();
  const absl::StatusOr<absl::Time> expire_time =
      context.serving->controller->Renew(request.generation(), ttl);
  if (!expire_time.ok()) return expire_time.status();
  v1::RenewRoutingResponse response;
  *response.mutable_expire_time() = api::ToProto(*expire_time);
  return response;
}

}  // namespace olmoe::rpc
