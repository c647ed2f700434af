#include "client/eval/sweep_report.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/eval/pareto.h"
#include "client/eval/report_json.h"
#include "client/eval/sheet.h"
#include "client/render/format.h"

namespace olmoe::client::eval {
namespace {

using nlohmann::ordered_json;

// Increases of the loss.
Sheet SensitivitySheet(const Sensitivity& sensitivity, double native_loss) {
  Sheet sheet{.left = 0, .titles = {"LAYER"}, .rows = {}};
  for (const uint32_t k : sensitivity.ks) sheet.titles.push_back(absl::StrCat("K = ", k));
  for (size_t layer = 0; layer < sensitivity.losses.size(); ++layer) {
    Sheet::Cells& cells = sheet.rows.emplace_back(Sheet::Cells{absl::StrCat(layer)});
    for (const double loss : sensitivity.losses[layer]) {
      cells.push_back(absl::StrFormat("%+.4f", loss - native_loss));
    }
  }
  return sheet;
}

std::string BudgetText(const BudgetReport& budget) {
  std::string text =
      absl::StrCat("Budget of ", budget.budget, ": loss ", render::FormatFixed(budget.predicted, 4),
                   " predicted, ", render::FormatFixed(budget.measured, 4), " measured");
  if (budget.plain_k) {
    absl::StrAppend(&text, "; ", render::FormatFixed(budget.plain, 4),
                    " with top-k=", *budget.plain_k, " in every layer");
  }
  return text;
}

std::string PatchCommand(const BudgetReport& budget) {
  return absl::StrCat("olmoectl patch --policy '", budget.policy, "'");
}

// `sheet`: how a table is written.
std::string Parts(const SweepReport& report, std::string text,
                  const std::function<std::string(const Sheet&)>& sheet) {
  if (report.sensitivity) {
    absl::StrAppend(&text, "\nLoss with one layer changed, minus the first:\n\n",
                    sheet(SensitivitySheet(*report.sensitivity, report.report.rows[0].sum.Loss())));
  }
  if (report.budget) {
    absl::StrAppend(&text, "\n", BudgetText(*report.budget), "\n\n    ",
                    PatchCommand(*report.budget), "\n");
  }
  return text;
}

}  // namespace

void FindFront(Report* report) {
  const auto cost = [](const ReportRow& row) {
    return Tradeoff{row.sum.ActivationsPerToken(), row.sum.Loss()};
  };
  std::stable_sort(report->rows.begin() + 1, report->rows.end(),
                   [&cost](const ReportRow& a, const ReportRow& b) {
                     return std::pair(cost(a).cost, cost(a).loss) <
                            std::pair(cost(b).cost, cost(b).loss);
                   });
  std::vector<Tradeoff> points;
  for (const ReportRow& row : report->rows) points.push_back(cost(row));
  const std::vector<bool> on_front = OnFront(points);
  for (size_t i = 0; i < points.size(); ++i) report->rows[i].pareto = on_front[i];
}

std::string RenderTable(const SweepReport& report, const render::Style& style) {
  return Parts(report, RenderTable(report.report, style),
               [&style](const Sheet& sheet) { return RenderSheet(sheet, style); });
}

std::string RenderMarkdown(const SweepReport& report) {
  return Parts(report, RenderMarkdown(report.report), MarkdownSheet);
}

std::string RenderJson(const SweepReport& report, bool indent) {
  ordered_json out = ToJson(report.report);
  out["sensitivity"] = nullptr;
  if (const auto& sensitivity = report.sensitivity) {
    out["sensitivity"] = {{"ks", sensitivity->ks}, {"losses", sensitivity->losses}};
  }
  out["budget"] = nullptr;
  if (const auto& budget = report.budget) {
    out["budget"] = {{"budget", budget->budget},
                     {"ks", budget->ks},
                     {"policy", budget->policy},
                     {"predicted_loss", budget->predicted},
                     {"measured_loss", budget->measured},
                     {"plain_k", nullptr},
                     {"plain_loss", nullptr}};
    if (budget->plain_k) {
      out["budget"]["plain_k"] = *budget->plain_k;
      out["budget"]["plain_loss"] = budget->plain;
    }
  }
  return PrintedJson(out, indent);
}

}  // namespace olmoe::client::eval
