#include "client/render/expert_diff.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/render/expert_stats.h"
#include "client/render/experts.h"
#include "client/render/heatmap.h"
#include "client/render/help.h"
#include "client/render/table.h"

namespace olmoe::client::render {
namespace {

using compare::ExpertDifference;

// Less in blue, more in red.
const HeatScale& DifferenceScale() {
  static const HeatScale scale = {{'=', 25, "<-1"},        {'-', 75, "<-0.5"}, {',', 153, "<-0.1"},
                                  {'.', kNoColor, "same"}, {'+', 223, ">0.1"}, {'*', 209, ">0.5"},
                                  {'#', 160, ">1"}};
  return scale;
}

int DifferenceLevel(double difference) {
  const double size = std::abs(difference);
  const int steps = size > 1 ? 3 : size > 0.5 ? 2 : size > 0.1 ? 1 : 0;
  return difference < 0 ? 3 - steps : 3 + steps;
}

std::string RenderMap(const ExpertDiff& diff, const Style& style) {
  std::vector<HeatRow> rows;
  for (const LayerDifference& layer : Compare(diff.from, diff.to)) {
    HeatRow row;
    row.label = absl::StrCat(layer.layer);
    const size_t experts = std::min(layer.load_a.size(), layer.load_b.size());
    for (size_t expert = 0; expert < experts; ++expert) {
      row.levels.push_back(DifferenceLevel(layer.load_b[expert] - layer.load_a[expert]));
    }
    row.note = absl::StrFormat(" %5.3f %5.3f", layer.total_variation, layer.jensen_shannon_bits);
    rows.push_back(std::move(row));
  }
  return absl::StrCat(RenderHeatMap(rows, "    TV    JS", DifferenceScale(), style),
                      RenderLegend("change of load, in even shares", DifferenceScale(), style),
                      "TV: total variation, 0..1; JS: Jensen-Shannon divergence in bits, 0..1\n");
}

// "significant (*, q <= 0.05): 3 of 128 experts; by layer: 0: 1, 1: 2".
std::string RenderDiscoveries(const ExpertDiff& diff) {
  std::map<uint32_t, int> by_layer;
  int all = 0;
  for (const ExpertDifference& one : diff.experts) {
    by_layer[one.layer] += one.significant ? 1 : 0;
    all += one.significant ? 1 : 0;
  }
  const std::string layers = absl::StrJoin(
      by_layer, ", ", [](std::string* out, const std::pair<const uint32_t, int>& layer) {
        absl::StrAppend(out, layer.first, ": ", layer.second);
      });
  constexpr size_t kWidth = 80;
  return Wrap(absl::StrCat("significant (*, q <= ", diff.alpha, "): ", all, " of ",
                           diff.experts.size(), " experts; by layer: ", layers),
              kWidth) +
         "\n";
}

std::string PercentText(double share) { return absl::StrFormat("%.2f%%", 100 * share); }

std::string ProbabilityText(double p) { return p > 0 ? absl::StrFormat("%.2g", p) : "<1e-300"; }

std::string RenderMovers(std::vector<ExpertDifference> experts, size_t top, const Style& style) {
  std::stable_sort(experts.begin(), experts.end(), [](const auto& a, const auto& b) {
    return std::abs(a.Change()) > std::abs(b.Change());
  });
  if (experts.size() > top) experts.resize(top);
  using enum Table::Align;
  Table table({{"LAYER", kRight},
               {"EXPERT", kRight},
               {"FROM", kRight},
               {"TO", kRight},
               {"DIFFERENCE", kRight},
               {"P", kRight},
               {"Q", kRight},
               {""}});
  for (const ExpertDifference& one : experts) {
    table.AddRow({absl::StrCat(one.layer), absl::StrCat(one.expert), PercentText(one.from.Share()),
                  PercentText(one.to.Share()), absl::StrFormat("%+.2f%%", 100 * one.Change()),
                  ProbabilityText(one.test.p), ProbabilityText(one.q), one.significant ? "*" : ""});
  }
  return table.empty() ? "" : "\n" + table.Render(style);
}

}  // namespace

std::string RenderExpertDiff(const ExpertDiff& diff, int top, const Style& style) {
  return absl::StrCat("from ", DecisionHeading(diff.from, style), "to ",
                      DecisionHeading(diff.to, style), RenderMap(diff, style), "\n",
                      RenderDiscoveries(diff),
                      RenderMovers(diff.experts, static_cast<size_t>(top), style));
}

}  // namespace olmoe::client::render
