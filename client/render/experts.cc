#include "client/render/experts.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/render/format.h"
#include "client/render/heatmap.h"
#include "client/render/routing.h"
#include "client/render/table.h"

namespace olmoe::client::render {
namespace {

// Blue to red through green. The steps are the same for every map, so that maps
// can be compared; blocks carry their own background and show on light and dark.
const HeatScale& LoadScale() {
  static const HeatScale scale = {{' ', kNoColor, "idle"}, {'.', 18, "<1/4"}, {':', 25, "<1/2"},
                                  {'-', 31, "<3/4"},       {'=', 37, "<1"},   {'+', 72, "<1.5"},
                                  {'*', 107, "<2"},        {'#', 178, "<3"},  {'%', 208, "<5"},
                                  {'@', 160, "5+"}};
  return scale;
}

int LoadLevel(double load) {
  static constexpr double kBounds[] = {0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5};
  if (load == 0) return 0;
  return 1 + static_cast<int>(std::upper_bound(std::begin(kBounds), std::end(kBounds), load) -
                              std::begin(kBounds));
}

const char* KindName(v1::DecisionKind kind) {
  return kind == v1::DECISION_KIND_ANALYZED ? "analyzed" : "applied";
}

const char* PhaseName(v1::Phase phase) {
  switch (phase) {
    case v1::PHASE_PREFILL: return "prefill";
    case v1::PHASE_DECODE: return "decode";
    case v1::PHASE_SCORE: return "score";
    default: return "all phases";
  }
}

// The server sums what an arm's policies did where it does not keep them apart: inline
// policies, and those of long ago.
std::string PolicyName(const v1::ArmExpertStats& stats) {
  if (stats.policy_id().empty()) return "several policies";
  return absl::StrCat("policy ", stats.policy_id());
}

std::string Ratio(double part, double whole, int decimals) {
  return whole > 0 ? FormatFixed(part / whole, decimals) : "-";
}

std::string Percent(double part, double whole) {
  return whole > 0 ? absl::StrFormat("%.1f%%", 100 * part / whole) : "-";
}

// A field that may hold a comma or a quote: names that came from elsewhere.
std::string CsvField(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
  return quoted + "\"";
}

}  // namespace

std::string DecisionHeading(const v1::ArmExpertStats& stats, const Style& style) {
  const std::string digest = stats.policy_digest().substr(0, kShortDigest);
  const std::string arm = absl::StrCat("arm ", stats.arm_id());
  const std::string policy = PolicyName(stats);
  constexpr size_t kRoom = 72;  // for both in a line, behind "from"
  const char* between = arm.size() + policy.size() > kRoom ? ",\n" : ", ";
  return absl::StrCat(style.Bold(absl::StrCat(arm, between, policy)), "\n", KindName(stats.kind()),
                      ", ", PhaseName(stats.phase()), ": ", TokensRouted(stats), " tokens, mean k ",
                      FormatFixed(MeanExperts(stats), 2), digest.empty() ? "" : ", digest ", digest,
                      "\n");
}

std::string RenderExpertMap(const v1::ArmExpertStats& stats, const Style& style) {
  std::vector<HeatRow> rows;
  for (const v1::LayerExpertStats& layer : stats.layers()) {
    HeatRow row;
    row.label = absl::StrCat(layer.layer());
    for (const double load : RelativeLoad(layer)) row.levels.push_back(LoadLevel(load));
    row.note =
        absl::StrFormat(" %5.2f %5.1f", layer.mean_experts_per_token(), layer.load_max_over_mean());
    rows.push_back(std::move(row));
  }
  return DecisionHeading(stats, style) + RenderHeatMap(rows, "     k   max", LoadScale(), style);
}

std::string RenderLoadLegend(const Style& style) {
  return RenderLegend("load, 1 = even", LoadScale(), style);
}

// All layers have as many tokens, those of the heading; so 80 columns are enough.
std::string RenderExpertTable(const v1::ArmExpertStats& stats, const Style& style) {
  using enum Table::Align;
  const bool analyzed = stats.kind() == v1::DECISION_KIND_ANALYZED;
  std::vector<Table::Column> columns = {{"LAYER", kRight},   {"MEAN K", kRight}, {"SD", kRight},
                                        {"AT MIN", kRight},  {"AT MAX", kRight}, {"MASS", kRight},
                                        {"ENTROPY", kRight}, {"LOAD", kRight},   {"JAIN", kRight},
                                        {"IDLE", kRight}};
  if (analyzed) columns.push_back({"OVERLAP", kRight});
  const bool forced =
      std::any_of(stats.layers().begin(), stats.layers().end(),
                  [](const v1::LayerExpertStats& layer) { return layer.force_hits() > 0; });
  if (forced) columns.push_back({"FORCED", kRight});
  Table table(std::move(columns));
  for (const v1::LayerExpertStats& layer : stats.layers()) {
    const auto tokens = static_cast<double>(layer.tokens());
    std::vector<std::string> cells = {absl::StrCat(layer.layer()),
                                      FormatFixed(layer.mean_experts_per_token(), 2),
                                      FormatFixed(layer.stddev_experts_per_token(), 2),
                                      Percent(static_cast<double>(layer.min_k_hits()), tokens),
                                      Percent(static_cast<double>(layer.max_k_hits()), tokens),
                                      Ratio(layer.selected_mass(), tokens, 3),
                                      Ratio(layer.router_entropy(), tokens, 3),
                                      FormatFixed(layer.load_max_over_mean(), 2),
                                      FormatFixed(layer.load_jain(), 2),
                                      absl::StrCat(layer.idle_experts())};
    if (analyzed) {
      cells.push_back(Ratio(static_cast<double>(layer.common_experts()),
                            static_cast<double>(layer.union_experts()), 3));
    }
    if (forced) cells.push_back(Percent(static_cast<double>(layer.force_hits()), tokens));
    table.AddRow(std::move(cells));
  }
  return DecisionHeading(stats, style) + table.Render(style);
}

std::string ExpertCsv(const std::vector<v1::ArmExpertStats>& arms) {
  std::string csv =
      "arm,policy,policy_digest,kind,phase,layer,expert,expert_tokens,layer_tokens,load\n";
  for (const v1::ArmExpertStats& arm : arms) {
    const std::string head = absl::StrCat(CsvField(arm.arm_id()), ",", CsvField(arm.policy_id()),
                                          ",", CsvField(arm.policy_digest()), ",",
                                          KindName(arm.kind()), ",", PhaseName(arm.phase()), ",");
    for (const v1::LayerExpertStats& layer : arm.layers()) {
      const std::vector<double> load = RelativeLoad(layer);
      for (size_t expert = 0; expert < load.size(); ++expert) {
        absl::StrAppend(&csv, head, layer.layer(), ",", expert, ",",
                        layer.expert_tokens(static_cast<int>(expert)), ",", layer.tokens(), ",",
                        load[expert], "\n");
      }
    }
  }
  return csv;
}

}  // namespace olmoe::client::render
