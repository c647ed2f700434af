#include "client/eval/report.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/eval/report_json.h"
#include "client/eval/sheet.h"
#include "client/render/format.h"

namespace olmoe::client::eval {
namespace {

using nlohmann::ordered_json;
using Cells = Sheet::Cells;

std::string DifferenceText(const std::optional<Difference>& difference) {
  if (!difference) return "-";
  std::string text = absl::StrFormat("%+.4f", difference->mean);
  if (difference->low && difference->high) {
    absl::StrAppendFormat(&text, " [%+.4f, %+.4f]", *difference->low, *difference->high);
  }
  return text;
}

// What a row says of texts or of questions, between its names and its costs.
Cells TextCells(const UnitResult& sum) {
  return {absl::StrCat(sum.tokens), render::FormatFixed(sum.Loss(), 4),
          render::FormatFixed(sum.Perplexity(), 3), render::FormatFixed(sum.TokenAccuracy(), 4)};
}

Cells ChoiceCells(const UnitResult& sum) {
  return {absl::StrCat(sum.units), render::FormatFixed(sum.Accuracy(), 4),
          render::FormatFixed(sum.AccuracyNorm(), 4), render::FormatFixed(sum.Loss(), 4)};
}

// What a sheet has beside its fixed columns: where any of its rows has it.
struct Extras {
  bool analyzed = false, pareto = false;

  void Add(const ReportRow& row) {
    analyzed = analyzed || row.sum.analyzed_slots > 0;
    pareto = pareto || row.pareto.has_value();
  }
};

Cells Titles(bool is_choice, const Extras& extras) {
  Cells titles = is_choice ? Cells{"DATA", "POLICY", "QUESTIONS", "ACC", "ACC NORM", "LOSS"}
                           : Cells{"DATA", "POLICY", "TOKENS", "LOSS", "PPL", "TOKEN ACC"};
  titles.insert(titles.end(), {"EXPERTS", "ACTIVATIONS"});
  if (extras.analyzed) titles.insert(titles.end(), {"ANALYZED", "OVERLAP"});
  titles.insert(titles.end(), {"TOK/S", is_choice ? "ACC - FIRST [95%]" : "LOSS - FIRST [95%]"});
  if (extras.pareto) titles.push_back("PARETO");
  return titles;
}

Cells AnalyzedCells(const UnitResult& sum) {
  if (sum.analyzed_slots == 0) return {"-", "-"};
  return {render::FormatFixed(sum.AnalyzedExperts(), 2),
          render::FormatFixed(sum.AnalyzedOverlap(), 4)};
}

Cells RowCells(const ReportRow& row, double layers, const Extras& extras) {
  Cells cells = {row.data, row.policy};
  for (std::string& cell : row.is_choice ? ChoiceCells(row.sum) : TextCells(row.sum)) {
    cells.push_back(std::move(cell));
  }
  cells.push_back(render::FormatFixed(row.sum.ActivationsPerToken() / layers, 2));
  cells.push_back(render::FormatFixed(row.sum.ActivationsPerToken(), 1));
  if (extras.analyzed) {
    for (std::string& cell : AnalyzedCells(row.sum)) cells.push_back(std::move(cell));
  }
  cells.push_back(render::FormatFixed(row.sum.TokensPerSecond(), 0));
  cells.push_back(DifferenceText(row.difference));
  if (extras.pareto) cells.push_back(row.pareto.value_or(false) ? "*" : "");
  return cells;
}

// Texts, then questions; those that have rows.
std::vector<Sheet> Sheets(const Report& report) {
  std::vector<Sheet> sheets;
  for (const bool is_choice : {false, true}) {
    std::vector<const ReportRow*> rows;
    Extras extras;
    for (const ReportRow& row : report.rows) {
      if (row.is_choice != is_choice) continue;
      rows.push_back(&row);
      extras.Add(row);
    }
    if (rows.empty()) continue;
    Sheet& sheet = sheets.emplace_back();
    sheet.titles = Titles(is_choice, extras);
    for (const ReportRow* row : rows) {
      sheet.rows.push_back(RowCells(*row, report.model.num_layers(), extras));
    }
  }
  return sheets;
}

// One line for each data set of which questions are left out.
std::vector<std::string> SkippedLines(const Report& report) {
  std::vector<std::string> lines;
  std::set<std::string> told;
  for (const ReportRow& row : report.rows) {
    if (row.sum.skipped == 0 || !told.insert(row.data).second) continue;
    lines.push_back(absl::StrCat(row.data, ": ", row.sum.skipped, " of ",
                                 row.sum.skipped + row.sum.units,
                                 " questions are left out: a continuation merges into its context, "
                                 "so it has no token to score"));
  }
  return lines;
}

ordered_json Optional(const std::optional<double>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

// Every number of a row under its name; null where it does not apply.
ordered_json RowJson(const ReportRow& row, double layers) {
  const UnitResult& sum = row.sum;
  ordered_json out = {{"data", row.data},
                      {"policy", row.policy},
                      {"routing", row.routing},
                      {"policy_digest", row.digest},
                      {"kind", row.is_choice ? "multiple_choice" : "text"},
                      {"units", sum.units},
                      {"tokens", sum.tokens},
                      {"loss", sum.Loss()}};
  out["perplexity"] = row.is_choice ? ordered_json() : ordered_json(sum.Perplexity());
  out["token_accuracy"] = row.is_choice ? ordered_json() : ordered_json(sum.TokenAccuracy());
  out["acc"] = row.is_choice ? ordered_json(sum.Accuracy()) : ordered_json();
  out["acc_norm"] = row.is_choice ? ordered_json(sum.AccuracyNorm()) : ordered_json();
  out["experts_per_token"] = sum.ActivationsPerToken() / layers;
  out["activations_per_token"] = sum.ActivationsPerToken();
  const bool analyzed = sum.analyzed_slots > 0;
  out["analyzed_experts_per_token"] =
      analyzed ? ordered_json(sum.AnalyzedExperts()) : ordered_json();
  out["analyzed_overlap"] = analyzed ? ordered_json(sum.AnalyzedOverlap()) : ordered_json();
  out["tokens_per_second"] = sum.TokensPerSecond();
  const Difference none;
  const Difference& difference = row.difference.value_or(none);
  out["difference_of"] = row.is_choice ? "acc" : "loss";
  out["difference"] = row.difference ? ordered_json(difference.mean) : ordered_json();
  out["difference_low"] = Optional(difference.low);
  out["difference_high"] = Optional(difference.high);
  out["skipped"] = sum.skipped;
  if (row.pareto) out["pareto"] = *row.pareto;
  return out;
}

// [layer][expert]
ordered_json ExpertsJson(const ExpertCounts& counts, size_t num_experts) {
  ordered_json layers = ordered_json::array();
  for (size_t start = 0; start < counts.size(); start += num_experts) {
    const auto begin = counts.begin() + static_cast<ptrdiff_t>(start);
    layers.push_back(std::vector<uint64_t>(begin, begin + static_cast<ptrdiff_t>(num_experts)));
  }
  return layers;
}

std::string CsvField(const ordered_json& value) {
  if (value.is_null()) return "";
  std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

}  // namespace

ReportRow MakeRow(const Dataset& dataset, const Subject& subject, std::span<const UnitResult> first,
                  PassResult other, bool is_first, uint64_t seed) {
  ReportRow row{.data = dataset.name,
                .policy = subject.name,
                .routing = subject.routing,
                .digest = subject.digest,
                .is_choice = dataset.is_choice,
                .sum = {.units = 0},
                .experts = std::move(other.experts),
                .difference = {},
                .pareto = {}};
  std::vector<PairedUnit> pairs;
  for (size_t i = 0; i < other.units.size(); ++i) {
    const UnitResult& unit = other.units[i];
    row.sum.Add(unit);
    if (unit.skipped > 0) continue;  // and so it is under every policy
    if (dataset.is_choice) {
      pairs.push_back(
          {static_cast<double>(first[i].correct), static_cast<double>(unit.correct), 1});
    } else {
      pairs.push_back({first[i].nll, unit.nll, static_cast<double>(unit.tokens)});
    }
  }
  if (!is_first) row.difference = BootstrapDifference(pairs, seed);
  return row;
}

std::string RenderTable(const Report& report, const render::Style& style) {
  std::string text;
  for (const Sheet& sheet : Sheets(report)) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", RenderSheet(sheet, style));
  }
  for (const std::string& line : SkippedLines(report)) absl::StrAppend(&text, line, "\n");
  return text;
}

std::string RenderMarkdown(const Report& report) {
  std::string text;
  for (const Sheet& sheet : Sheets(report)) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", MarkdownSheet(sheet));
  }
  for (const std::string& line : SkippedLines(report)) absl::StrAppend(&text, "\n", line, "\n");
  return text;
}

std::string RenderCsv(const Report& report) {
  std::string text;
  for (const ReportRow& row : report.rows) {
    const ordered_json fields = RowJson(row, report.model.num_layers());
    Cells titles, cells;
    for (const auto& [title, value] : fields.items()) {
      titles.push_back(title);
      cells.push_back(CsvField(value));
    }
    if (text.empty()) text = absl::StrJoin(titles, ",") + "\n";
    absl::StrAppend(&text, absl::StrJoin(cells, ","), "\n");
  }
  return text;
}

ordered_json ToJson(const Report& report) {
  ordered_json out;
  out["model"] = {
      {"model_id", report.model.model_id()},     {"weights_digest", report.model.weights_digest()},
      {"dtype", report.model.dtype()},           {"device", report.model.device()},
      {"num_layers", report.model.num_layers()}, {"server_version", report.model.server_version()}};
  out["window"] = report.cutting.window;
  out["stride"] = report.cutting.stride;
  out["limit"] = report.cutting.limit;
  out["bootstrap"] = {
      {"resamples", kResamples}, {"confidence", kConfidence}, {"seed", report.seed}};
  out["results"] = ordered_json::array();
  for (const ReportRow& row : report.rows) {
    ordered_json& result = out["results"].emplace_back(RowJson(row, report.model.num_layers()));
    if (row.experts.empty()) continue;
    result["expert_counts"] = ExpertsJson(row.experts, report.model.num_experts());
  }
  return out;
}

std::string PrintedJson(const ordered_json& json, bool indent) {
  return json.dump(indent ? 2 : -1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string RenderJson(const Report& report, bool indent) {
  return PrintedJson(ToJson(report), indent);
}

}  // namespace olmoe::client::eval
