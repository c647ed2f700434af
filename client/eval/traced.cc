#include "client/eval/traced.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/notation/policy_spec.h"
#include "client/trace/recording.h"
#include "server/routing/rule_fields.h"

namespace olmoe::client::eval {
namespace {

std::span<const uint8_t> BytesOf(const std::string& bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

// Calls `visit(slot, experts)` for each (position, layer) of a whole trace, in its order.
template <class Visit>
void ForEachSlot(const v1::RoutingTrace& trace, const Visit& visit) {
  std::span<const uint8_t> experts = BytesOf(trace.experts());
  size_t slot = 0;
  for (const uint8_t count : BytesOf(trace.counts())) {
    visit(slot++, experts.first(count));
    experts = experts.subspan(count);
  }
}

std::set<std::string> AnalyzedCalibrations(const v1::RoutingPolicy& policy) {
  std::set<std::string> names;
  const auto add = [&names](const v1::Rule& analyzed) {
    const routing::Rule rule = notation::RuleOf(analyzed);
    if (const std::string* name = routing::NeededCalibration(rule)) names.insert(*name);
  };
  if (policy.has_analyze()) add(policy.analyze());
  for (const v1::LayerOverride& layers : policy.layer_overrides()) {
    if (layers.has_analyze()) add(layers.analyze());
  }
  return names;
}

absl::Status FetchTables(const std::string& name, transport::RpcClient& rpc,
                         std::vector<notation::CalibrationTable>* tables) {
  v1::GetCalibrationRequest request;
  request.set_calibration_id(name);
  auto layers = rpc.GetCalibration(request);
  if (!layers.ok()) {
    absl::Status named(layers.status().code(),
                       absl::StrCat("calibration ", name,
                                    ", which the analyzed rule needs here too, cannot be had from "
                                    "the admin port: ",
                                    layers.status().message()));
    layers.status().ForEachPayload(
        [&named](absl::string_view url, const absl::Cord& value) { named.SetPayload(url, value); });
    return named;
  }
  for (v1::LayerCdf& layer : *layers) {
    tables->push_back({name, std::move(layer), absl::StrCat("calibration ", name, ": ")});
  }
  return absl::OkStatus();
}

bool Analyzes(const v1::RoutingPolicy& policy) {
  return policy.has_analyze() ||
         std::any_of(policy.layer_overrides().begin(), policy.layer_overrides().end(),
                     [](const v1::LayerOverride& layers) { return layers.has_analyze(); });
}

}  // namespace

routing::RouterShape ShapeOf(const v1::GetModelInfoResponse& model) {
  return {.num_layers = static_cast<int>(model.num_layers()),
          .num_experts = static_cast<int>(model.num_experts()),
          .default_k = static_cast<int>(model.default_top_k()),
          .norm_topk_prob = model.norm_topk_prob()};
}

absl::Status CountExperts(const v1::ScoreResponse& response, const routing::RouterShape& shape,
                          ExpertCounts* counts) {
  v1::TraceOptions asked;
  asked.set_experts(true);
  for (const v1::ScoreResult& result : response.results()) {
    // Another policy may have asked for logits, which do not matter here.
    asked.set_logits(!result.trace().logits().empty());
    if (auto status = trace::CheckWhole(result.trace(), shape, asked); !status.ok()) return status;
    ForEachSlot(result.trace(), [&](size_t slot, std::span<const uint8_t> experts) {
      const size_t layer = slot % static_cast<size_t>(shape.num_layers);
      for (const uint8_t expert : experts) {
        ++(*counts)[layer * static_cast<size_t>(shape.num_experts) + expert];
      }
    });
  }
  return absl::OkStatus();
}

routing::RowPlace PlaceOfRow(const v1::ScoreItem& item, const v1::ScoreResult& result,
                             uint32_t max_context, size_t row) {
  routing::RowPlace place{.position = row};
  const size_t rows = result.trace().num_positions();
  if (!item.rolling()) {
    // The last token is predicted, and never run.
    place.late = row + result.token_count() > rows;
    return place;
  }
  const size_t first = row / max_context * max_context;  // of the row's window
  const size_t in_window = std::min<size_t>(max_context, rows - first);
  const size_t repeated = first == 0 ? 0 : max_context - in_window;
  place.position = repeated + row - first;
  place.late = row > 0;  // before it there is only what stands before every text
  return place;
}

absl::StatusOr<std::shared_ptr<Analyzer>> Analyzer::Create(const v1::RoutingPolicy& policy,
                                                           const v1::GetModelInfoResponse& model,
                                                           transport::RpcClient& rpc) {
  if (!Analyzes(policy)) return nullptr;
  std::vector<notation::CalibrationTable> tables;
  for (const std::string& name : AnalyzedCalibrations(policy)) {
    if (auto status = FetchTables(name, rpc, &tables); !status.ok()) return status;
  }
  auto made = route::MakeCdfTables(tables);
  if (!made.ok()) return made.status();
  const auto analyzer = std::shared_ptr<Analyzer>(new Analyzer(model.max_context()));
  analyzer->tables_ = *std::move(made);
  auto rules = route::PolicyRules::Create(policy, ShapeOf(model), &analyzer->tables_);
  if (!rules.ok()) return rules.status();
  analyzer->rules_.emplace(*std::move(rules));
  return analyzer;
}

absl::Status Analyzer::AddSlot(const routing::RowPlace& place, std::span<const uint8_t> experts,
                               std::span<const float> logits, UnitResult* result) {
  const route::RowRules& rules = rules_->Of(place.layer);
  if (!rules.analyze) return absl::OkStatus();
  routing::RowRouting decision;
  const routing::RouteError error =
      routing::RouteRow(logits, rules.shape, *rules.analyze, nullptr, place, &decision);
  if (error != routing::RouteError::kNone) {
    return absl::InternalError(absl::StrCat("the analyzed rule cannot decide about position ",
                                            place.position, ", layer ", place.layer,
                                            ", which the server took"));
  }
  const routing::ExpertSet ran = routing::SetOf(experts);
  const routing::ExpertSet would_run =
      routing::SetOf(std::span(decision.experts).first(decision.applied.k));
  ++result->analyzed_slots;
  result->analyzed += decision.applied.k;
  result->common += (ran & would_run).count();
  result->either += (ran | would_run).count();
  return absl::OkStatus();
}

absl::Status Analyzer::Add(const v1::ScoreRequest& request, const v1::ScoreResponse& response,
                           UnitResult* result) {
  const routing::RouterShape& shape = rules_->shape();
  v1::TraceOptions asked;
  asked.set_experts(true);
  asked.set_logits(true);
  std::vector<float> logits(static_cast<size_t>(shape.num_experts));
  const size_t row_bytes = logits.size() * sizeof(float);
  for (int i = 0; i < request.items_size(); ++i) {
    const v1::ScoreResult& scored = response.results(i);
    const v1::RoutingTrace& trace = scored.trace();
    if (auto status = trace::CheckWhole(trace, shape, asked); !status.ok()) return status;
    absl::Status status;
    ForEachSlot(trace, [&](size_t slot, std::span<const uint8_t> experts) {
      const size_t layers = static_cast<size_t>(shape.num_layers);
      routing::RowPlace place = PlaceOfRow(request.items(i), scored, max_context_, slot / layers);
      place.layer = static_cast<int>(slot % layers);
      place.routing_seed = request.routing_seed();
      std::memcpy(logits.data(), trace.logits().data() + slot * row_bytes, row_bytes);
      status.Update(AddSlot(place, experts, logits, result));
    });
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace olmoe::client::eval
