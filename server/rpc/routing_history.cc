// GetRouting, ListRoutingHistory, ExplainAssignment: plans that are, were or could be.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/api/request_errors.h"
#include "server/api/request_fields.h"
#include "server/api/routing_proto.h"
#include "server/routing/controller.h"
#include "server/rpc/admin_calls.h"

namespace olmoe::rpc {
namespace {

constexpr uint32_t kDefaultPageSize = 20, kMaxPageSize = 100;
constexpr int kMaxUnits = 1000;

// The generation below which a page begins.
uint64_t ParsePageToken(const std::string& token, api::RequestErrors* errors) {
  uint64_t before = UINT64_MAX;
  if (!token.empty() && !absl::SimpleAtoi(token, &before)) {
    errors->Add("page_token", "is not a next_page_token");
  }
  return before;
}

void CheckUnits(const v1::ExplainAssignmentRequest& request, api::RequestErrors* errors) {
  if (request.unit_ids_size() > kMaxUnits) {
    errors->Add("unit_ids", absl::StrCat("must have at most ", kMaxUnits, " ids, has ",
                                         request.unit_ids_size()));
  }
  for (int i = 0; i < std::min(request.unit_ids_size(), kMaxUnits); ++i) {
    const size_t bytes = request.unit_ids(i).size();
    if (bytes >= 1 && bytes <= api::kMaxUnitIdBytes) continue;
    errors->Add(absl::StrCat("unit_ids[", i, "]"),
                absl::StrCat("must be 1..", api::kMaxUnitIdBytes, " bytes, is ", bytes));
  }
}

// The plan to explain; null after an error.
std::shared_ptr<const routing::RoutingPlan> PlanToExplain(
    const v1::ExplainAssignmentRequest& request, const AdminContext& context,
    api::RequestErrors* errors) {
  if (!request.has_plan()) return context.serving->controller->slot().Current();
  api::RequestErrors in_plan;
  routing::PlanSpec spec = api::ToPlanSpec(request.plan(), "plan", &in_plan);
  if (!in_plan.empty()) {
    errors->Add(in_plan.ToStatus());
    return nullptr;
  }
  auto plan = context.serving->controller->BuildOnly(std::move(spec));
  errors->Add(plan.status());
  return plan.ok() ? *std::move(plan) : nullptr;
}

}  // namespace

v1::GetRoutingResponse GetRouting(const AdminContext& context) {
  const routing::PlanSlot& slot = context.serving->controller->slot();
  const auto current = context.serving->controller->CurrentRecord();
  v1::GetRoutingResponse response;
  *response.mutable_current() = api::ToProto(*current, slot.InFlight(current->generation));
  for (const routing::DrainingPlan& old : slot.Draining()) {
    *response.add_draining() = api::ToProto(*old.plan, old.in_flight);
  }
  return response;
}

absl::StatusOr<v1::ListRoutingHistoryResponse> ListRoutingHistory(
    const v1::ListRoutingHistoryRequest& request, const AdminContext& context) {
  api::RequestErrors errors;
  if (request.page_size() > kMaxPageSize) {
    errors.Add("page_size",
               absl::StrCat("must be 0..", kMaxPageSize, ", is ", request.page_size()));
  }
  const uint64_t before = ParsePageToken(request.page_token(), &errors);
  if (!errors.empty()) return errors.ToStatus();
  const size_t size = request.page_size() == 0 ? kDefaultPageSize : request.page_size();

  // One more, to know whether there is another page.
  absl::StatusOr<std::vector<routing::PlanRecord>> records =
      context.serving->controller->history().List(before, size + 1);
  if (!records.ok()) return records.status();
  const bool more = records->size() > size;
  if (more) records->pop_back();
  v1::ListRoutingHistoryResponse response;
  for (const routing::PlanRecord& record : *records) {
    *response.add_records() =
        api::ToProto(record, context.serving->controller->slot().InFlight(record.generation));
  }
  if (more) response.set_next_page_token(absl::StrCat(records->back().generation));
  return response;
}

absl::StatusOr<v1::ExplainAssignmentResponse> ExplainAssignment(
    const v1::ExplainAssignmentRequest& request, const AdminContext& context) {
  api::RequestErrors errors;
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
