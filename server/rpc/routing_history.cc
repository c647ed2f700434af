#include "server/rpc/routing_history.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/routing/controller.h"
#include "server/rpc/patch_fields.h"
#include "server/rpc/request_errors.h"
#include "server/rpc/routing_choice.h"
#include "server/rpc/routing_proto.h"
#include "server/rpc/time_proto.h"

namespace olmoe::rpc {
namespace {

constexpr uint32_t kDefaultPageSize = 20, kMaxPageSize = 100;
constexpr int kMaxUnits = 1000;

// The generation below which a page begins.
uint64_t ParsePageToken(const std::string& token, RequestErrors* errors) {
  uint64_t before = UINT64_MAX;
  if (!token.empty() && !absl::SimpleAtoi(token, &before)) {
    errors->Add("page_token", "is not a next_page_token");
  }
  return before;
}

void CheckUnits(const v1::ExplainAssignmentRequest& request, RequestErrors* errors) {
  if (request.unit_ids_size() > kMaxUnits) {
    errors->Add("unit_ids", absl::StrCat("must be at most ", kMaxUnits, " ids, are ",
                                         request.unit_ids_size()));
  }
  for (int i = 0; i < std::min(request.unit_ids_size(), kMaxUnits); ++i) {
    const size_t bytes = request.unit_ids(i).size();
    if (bytes >= 1 && bytes <= kMaxUnitIdBytes) continue;
    errors->Add(absl::StrCat("unit_ids[", i, "]"),
                absl::StrCat("must be 1..", kMaxUnitIdBytes, " bytes, is ", bytes));
  }
}

// The plan to explain; null after an error.
std::shared_ptr<const routing::RoutingPlan> PlanToExplain(
    const v1::ExplainAssignmentRequest& request, const ServiceContext& context,
    RequestErrors* errors) {
  if (!request.has_plan()) return context.controller->slot().Current();
  RequestErrors in_plan;
  routing::PlanSpec spec = ToPlanSpec(request.plan(), "plan", &in_plan);
  if (!in_plan.empty()) {
    errors->Add(in_plan.ToStatus());
    return nullptr;
  }
  auto plan = context.controller->BuildOnly(std::move(spec));
  errors->Add(plan.status());
  return plan.ok() ? *std::move(plan) : nullptr;
}

}  // namespace

absl::StatusOr<v1::PatchRoutersResponse> RollbackRouting(
    const v1::RollbackRoutingRequest& request, const ServiceContext& context,
    std::string actor) {
  routing::PatchOptions options;
  options.actor = std::move(actor);
  if (request.has_expected_generation()) {
    options.expected_generation = request.expected_generation();
  }
  const std::optional<uint64_t> to_generation =
      request.has_to_generation() ? std::optional<uint64_t>(request.to_generation())
                                  : std::nullopt;
  return AnswerOf(context.controller->Rollback(to_generation, options), context);
}

absl::StatusOr<v1::RenewRoutingResponse> RenewRouting(const v1::RenewRoutingRequest& request,
                                                      const ServiceContext& context) {
  RequestErrors errors;
  const absl::Duration ttl = ParseTtl(request.ttl(), &errors);
  if (!errors.empty()) return errors.ToStatus();
  const absl::StatusOr<absl::Time> expire_time =
      context.controller->Renew(request.generation(), ttl);
  if (!expire_time.ok()) return expire_time.status();
  v1::RenewRoutingResponse response;
  *response.mutable_expire_time() = ToProto(*expire_time);
  return response;
}

absl::StatusOr<v1::ListRoutingHistoryResponse> ListRoutingHistory(
    const v1::ListRoutingHistoryRequest& request, const ServiceContext& context) {
  RequestErrors errors;
  if (request.page_size() > kMaxPageSize) {
    errors.Add("page_size",
               absl::StrCat("must be 0..", kMaxPageSize, ", is ", request.page_size()));
  }
  const uint64_t before = ParsePageToken(request.page_token(), &errors);
  if (!errors.empty()) return errors.ToStatus();
  const size_t size = request.page_size() == 0 ? kDefaultPageSize : request.page_size();

  // One more, to know whether there is another page.
  absl::StatusOr<std::vector<routing::PlanRecord>> records =
      context.controller->history().List(before, size + 1);
  if (!records.ok()) return records.status();
  const bool more = records->size() > size;
  if (more) records->pop_back();
  v1::ListRoutingHistoryResponse response;
  for (const routing::PlanRecord& record : *records) {
    *response.add_records() =
        ToProto(record, context.controller->slot().InFlight(record.generation));
  }
  if (more) response.set_next_page_token(absl::StrCat(records->back().generation));
  return response;
}

absl::StatusOr<v1::ExplainAssignmentResponse> ExplainAssignment(
    const v1::ExplainAssignmentRequest& request, const ServiceContext& context) {
  RequestErrors errors;
  CheckUnits(request, &errors);
  const auto plan = PlanToExplain(request, context, &errors);
  if (!errors.empty()) return errors.ToStatus();
  v1::ExplainAssignmentResponse response;
  for (const std::string& unit_id : request.unit_ids()) {
    const routing::RoutingPlan::Draw draw = plan->DrawUnit(unit_id);
    auto* assignment = response.add_assignments();
    assignment->set_unit_id(unit_id);
    assignment->set_arm_id(plan->arms()[draw.arm].arm_id);
    assignment->set_bucket(draw.bucket);
  }
  return response;
}

}  // namespace olmoe::rpc
