#include "client/route/calibration_file.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/route/json_fields.h"
#include "nlohmann/json.hpp"

namespace olmoe::client::route {
namespace {

using nlohmann::json;

constexpr int kMaxLayers = 1024;

absl::Status At(size_t line, const std::string& error) {
  return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", error));
}

// True where `exact` is `rounded` without the rounding of 1 - cdf: that is what p-values are
// made of, and the tail is where it matters.
bool IsComplement(const std::vector<double>& rounded, const std::vector<double>& exact) {
  constexpr double kRounding = 1e-9;
  return rounded.size() == exact.size() &&
         std::equal(rounded.begin(), rounded.end(), exact.begin(), [](double a, double b) {
           return b >= 0 && b <= 1 && std::abs(a - b) <= kRounding;
         });
}

// `place`: the layer of a table that does not say it.
absl::Status AddTable(const json& value, const std::string& outer_name, int place, size_t line,
                      CdfTables* tables) {
  JsonFields fields(value, "");
  const int layer = fields.Has("layer") ? fields.Integer("layer", 0, kMaxLayers - 1) : place;
  const double x0 = fields.Number("x0");
  const double dx = fields.Number("dx");
  const std::vector<double> cdf = fields.Numbers("cdf");
  const std::vector<double> survival =
      fields.Has("survival") ? fields.Numbers("survival") : std::vector<double>();
  std::string name = outer_name;
  if (fields.Has("calibration")) name = fields.Text("calibration");
  if (!fields.error().empty()) return At(line, fields.error());
  std::vector<FieldViolation> violations;
  routing::CheckCdf(x0, dx, cdf, "", &violations);
  if (!violations.empty()) {
    return At(line, absl::StrCat(violations[0].field, ": ", violations[0].description));
  }
  routing::CdfTable table = routing::CdfTable::FromCdf(x0, dx, cdf);
  if (fields.Has("survival")) {
    if (!IsComplement(table.survival, survival)) return At(line, "survival: must be 1 - cdf");
    table.survival = survival;
  }
  const bool added = tables->try_emplace({name, layer}, std::move(table)).second;
  if (!added) return At(line, absl::StrCat("layer ", layer, " of \"", name, "\" occurs twice"));
  return absl::OkStatus();
}

absl::Status AddTables(const json& array, const std::string& name, size_t line,
                       CdfTables* tables) {
  int place = 0;
  for (const json& element : array) {
    auto status = AddTable(element, name, place++, line, tables);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// A table, an array of tables, or an object that holds the array.
absl::Status AddValue(const json& value, size_t line, CdfTables* tables) {
  if (value.is_array()) return AddTables(value, "", line, tables);
  if (!value.is_object() || !value.contains("layers")) {
    return AddTable(value, "", /*place=*/0, line, tables);
  }
  JsonFields fields(value, "");
  const std::string name = fields.Has("calibration") ? fields.Text("calibration") : "";
  if (!fields.Object("layers").is_array()) fields.Fail("layers", "must be an array of tables");
  if (!fields.error().empty()) return At(line, fields.error());
  return AddTables(value.at("layers"), name, line, tables);
}

}  // namespace

absl::StatusOr<CdfTables> ParseCdfTables(std::string_view text) {
  CdfTables tables;
  const json whole = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!whole.is_discarded()) {
    if (auto status = AddValue(whole, 1, &tables); !status.ok()) return status;
    return tables;
  }
  size_t line = 0;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view row = text.substr(start, end - start);
    start = end + 1;
    ++line;
    if (row.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const json value = json::parse(row, nullptr, /*allow_exceptions=*/false);
    if (value.is_discarded()) return At(line, "is not JSON");
    if (auto status = AddValue(value, line, &tables); !status.ok()) return status;
  }
  return tables;
}

const routing::CdfTable* FindTable(const CdfTables& tables, const std::string& calibration,
                                   int layer) {
  for (const std::string& name : {calibration, std::string()}) {
    const auto found = tables.find({name, layer});
    if (found != tables.end()) return &found->second;
  }
  return nullptr;
}

}  // namespace olmoe::client::route
