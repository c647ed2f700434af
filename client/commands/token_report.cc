#include "client/commands/token_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/render/format.h"
#include "client/render/heatmap.h"
#include "client/render/shaded_text.h"
#include "client/render/table.h"
#include "nlohmann/json.hpp"
#include "server/util/utf8.h"

namespace olmoe::client::commands {
namespace {

using nlohmann::ordered_json;
using trace::Selection;
using trace::TokenTable;

double KOf(const TokenTable& table, size_t token, std::optional<int> layer) {
  return layer ? table.K(token, *layer) : table.MeanK(token);
}

double EntropyOf(const TokenTable& table, size_t token, std::optional<int> layer) {
  return layer ? double{table.Entropy(token, *layer)} : table.MeanEntropy(token);
}

std::string ExpertsText(const TokenTable& table, size_t token, const TokensView& view) {
  std::vector<std::string> words;
  if (view.layer) {
    for (const Selection& one : table.ExpertsOf(token, *view.layer)) {
      words.push_back(absl::StrCat(one.expert));
    }
  } else {
    for (const Selection& one : table.Busiest(token, static_cast<size_t>(view.top))) {
      words.push_back(absl::StrCat(one.layer, ":", one.expert));
    }
  }
  return absl::StrJoin(words, " ");
}

std::string CountsText(const TokenTable& table, size_t token) {
  std::vector<int> counts;
  for (int layer = 0; layer < table.num_layers(); ++layer) counts.push_back(table.K(token, layer));
  return absl::StrJoin(counts, " ");
}

// From what is as expected, without a colour, to what is far from it. The steps are the same for
// every text, so that texts can be compared.
struct Shading {
  const char* title;
  std::array<double, 6> bounds;  // ascending; the level is how many of them the value exceeds
  std::array<const char*, 7> names;
};

Shading ShadingBy(const std::string& quantity) {
  if (quantity == "k") {
    return {"experts", {1, 2, 4, 8, 16, 32}, {"1", "<=2", "<=4", "<=8", "<=16", "<=32", ">32"}};
  }
  if (quantity == "entropy") {
    return {"entropy of the router over its maximum",
            {0.5, 0.6, 0.7, 0.8, 0.9, 0.95},
            {"<=0.5", "<=0.6", "<=0.7", "<=0.8", "<=0.9", "<=0.95", ">0.95"}};
  }
  return {"probability, 1 in",
          {2, 5, 10, 30, 100, 1000},
          {"<=2", "<=5", "<=10", "<=30", "<=100", "<=1000", ">1000"}};
}

render::HeatScale ScaleOf(const Shading& shading) {
  static constexpr std::array kColors = {render::kNoColor, 194, 229, 222, 215, 209, 203};
  render::HeatScale scale;
  for (size_t level = 0; level < kColors.size(); ++level) {
    scale.push_back({' ', kColors[level], shading.names[level]});
  }
  return scale;
}

// -1 for a token that has none.
int LevelOf(const TokenTable& table, size_t token, const TokensView& view, const Shading& shading) {
  double value = 0;
  if (view.color_by == "probability") {
    value = std::exp(-double{table.Score(token).logprob()});
  } else if (!table.HasRow(token)) {
    return -1;
  } else if (view.color_by == "k") {
    value = KOf(table, token, view.layer);
  } else {
    value = EntropyOf(table, token, view.layer) / std::log(table.num_experts());
  }
  const auto bound = std::lower_bound(shading.bounds.begin(), shading.bounds.end(), value);
  return static_cast<int>(bound - shading.bounds.begin());
}

// One value for each of `layers`; null for a token without a row.
template <typename Value>
ordered_json ByLayer(const std::vector<int>& layers, bool has_row, const Value& value) {
  if (!has_row) return nullptr;
  ordered_json out = ordered_json::array();
  for (const int layer : layers) out.push_back(value(layer));
  return out;
}

ordered_json TokenJson(const TokenReport& report, size_t token, const std::vector<int>& layers) {
  const TokenTable& table = report.table;
  const bool has_row = table.HasRow(token);
  const auto by_layer = [&](const auto& value) { return ByLayer(layers, has_row, value); };
  const auto of_experts = [&](auto member) {
    return by_layer([&](int layer) {
      ordered_json out = ordered_json::array();
      for (const Selection& one : table.ExpertsOf(token, layer)) out.push_back(one.*member);
      return out;
    });
  };
  ordered_json out;
  out["token_id"] = table.Score(token).token_id();
  out["piece"] =
      report.pieces.empty() ? ordered_json() : ordered_json(LossyUtf8(report.pieces[token]));
  out["logprob"] = table.Score(token).logprob();
  out["rank"] = table.Score(token).rank();
  out["k"] = by_layer([&](int layer) { return table.K(token, layer); });
  out["entropy"] = by_layer([&](int layer) { return table.Entropy(token, layer); });
  out["experts"] = of_experts(&Selection::expert);
  out["weights"] = of_experts(&Selection::weight);
  return out;
}

}  // namespace

std::string RenderTokens(const TokenReport& report, const TokensView& view,
                         const render::Style& style) {
  using enum render::Table::Align;
  const TokenTable& table = report.table;
  std::vector<render::Table::Column> columns = {
      {"#", kRight},    {"TOKEN", kRight},   {"PIECE"},
      {"PROB", kRight}, {"LOGPROB", kRight}, {"RANK", kRight},
      {"K", kRight},    {"ENTROPY", kRight}, {view.layer ? "EXPERTS" : "BUSIEST"}};
  if (view.per_layer) columns.push_back({"K BY LAYER"});
  render::Table out(std::move(columns));
  for (size_t token = 0; token < table.num_tokens(); ++token) {
    const double logprob = table.Score(token).logprob();
    const bool has_row = table.HasRow(token);
    std::vector<std::string> cells = {
        absl::StrCat(token + 1),
        absl::StrCat(table.Score(token).token_id()),
        report.pieces.empty() ? "" : render::Quote(report.pieces[token]),
        render::FormatFixed(std::exp(logprob), 4),
        render::FormatFixed(logprob, 4),
        absl::StrCat(table.Score(token).rank()),
        has_row ? render::FormatFixed(KOf(table, token, view.layer), 2) : "-",
        has_row ? render::FormatFixed(EntropyOf(table, token, view.layer), 3) : "-",
        has_row ? ExpertsText(table, token, view) : "-"};
    if (view.per_layer) cells.push_back(has_row ? CountsText(table, token) : "-");
    out.AddRow(std::move(cells));
  }
  return out.Render(style);
}

std::string RenderShadedTokens(const TokenReport& report, const TokensView& view,
                               const render::Style& style) {
  const Shading shading = ShadingBy(view.color_by);
  const render::HeatScale scale = ScaleOf(shading);
  std::vector<render::ShadedPart> parts;
  for (size_t token = 0; token < report.table.num_tokens(); ++token) {
    const std::string id =
        absl::StrCat(token == 0 ? "" : " ", report.table.Score(token).token_id());
    parts.push_back({report.pieces.empty() ? id : report.pieces[token],
                     LevelOf(report.table, token, view, shading)});
  }
  return render::RenderShadedText(parts, scale, style) +
         render::RenderLegend(shading.title, scale, style);
}

ordered_json TokensJson(const TokenReport& report, const TokensView& view) {
  std::vector<int> layers;
  for (int layer = 0; layer < report.table.num_layers(); ++layer) {
    if (!view.layer || *view.layer == layer) layers.push_back(layer);
  }
  ordered_json tokens = ordered_json::array();
  for (size_t token = 0; token < report.table.num_tokens(); ++token) {
    tokens.push_back(TokenJson(report, token, layers));
  }
  ordered_json out;
  out["routing"] = ordered_json::parse(render::ToJson(report.stamp, /*indent=*/false));
  out["logprob_sum"] = report.logprob_sum;
  out["layers"] = layers;
  out["tokens"] = std::move(tokens);
  return out;
}

}  // namespace olmoe::client::commands
