#include "client/notation/calibration_file.h"

#include <cmath>
#include <cstdint>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/notation/json_numbers.h"
#include "client/notation/text.h"
#include "nlohmann/json.hpp"

namespace olmoe::client::notation {
namespace {

using nlohmann::json;

constexpr int kMaxLayers = 1024;

json Array(const google::protobuf::RepeatedField<double>& values) {
  return std::vector<double>(values.begin(), values.end());
}

// Evenly spaced points as a grid. Published tables are rounded to float32: a point may be off by
// a hundredth of the distance.
void ReadPoints(const JsonCursor& field, v1::LayerCdf* cdf) {
  const std::vector<double> points = ReadNumbers(field);
  if (points.size() < 2 || points.size() != static_cast<size_t>(cdf->cdf_size())) {
    return field.Fail(absl::StrCat("must have as many points as cdf (", cdf->cdf_size(),
                                   "), and 2 or more; has ", points.size()));
  }
  const double first = points.front();
  const double step = (points.back() - first) / static_cast<double>(points.size() - 1);
  for (size_t i = 0; i < points.size(); ++i) {
    const double expected = first + step * static_cast<double>(i);
    if (std::abs(points[i] - expected) <= 0.01 * std::abs(step)) continue;
    return field.Fail(
        absl::StrCat("is not evenly spaced: point ", i, " is ", points[i], ", not ", expected));
  }
  cdf->set_x0(first);
  cdf->set_dx(step);
}

void ReadCdf(const JsonCursor& table, v1::LayerCdf* cdf) {
  const std::vector<double> values = ReadNumbers(table["cdf"]);
  cdf->mutable_cdf()->Add(values.begin(), values.end());
  if (!table["survival"].IsAbsent()) {
    const std::vector<double> survival = ReadNumbers(table["survival"]);
    cdf->mutable_survival()->Add(survival.begin(), survival.end());
  }
  if (!table["x"].IsAbsent()) return ReadPoints(table["x"], cdf);
  if (table["x0"].IsAbsent() && table["dx"].IsAbsent()) {
    return table.Fail("has neither \"x\" nor \"x0\" and \"dx\"");
  }
  cdf->set_x0(ReadNumber(table["x0"]));
  cdf->set_dx(ReadNumber(table["dx"]));
}

// Collects the tables of a file, and what is wrong with each. Thread-compatible.
class TableCollector {
 public:
  // `line`: where the document stands, "line 2: ", or nothing where it is the whole file.
  void Add(const JsonDocument& document, const std::string& line) {
    absl::Status error;
    const JsonCursor value(document, &error);
    if (value.IsArray()) return AddTables(value, "", line);
    if (!value.IsObject() || value["layers"].IsAbsent()) return AddTable(value, "", line, 0);
    const JsonCursor calibration = value["calibration"];
    AddTables(value["layers"], calibration.IsAbsent() ? "" : calibration.String(), line);
    if (!error.ok()) Fail(absl::StrCat(line, error.message()));
  }

  void Fail(std::string error) { errors_.push_back(std::move(error)); }
  bool failed() const { return !errors_.empty(); }

  absl::StatusOr<std::vector<CalibrationTable>> Finish() && {
    if (errors_.empty() && tables_.empty()) {
      Fail(
          "no tables: a calibration is JSON {\"layers\": [TABLE, ...]}, an array of tables, or a "
          "table a line; a TABLE is {\"x0\", \"dx\", \"cdf\"} or {\"x\", \"cdf\"}");
    }
    if (errors_.empty()) return std::move(tables_);
    return absl::InvalidArgumentError(absl::StrJoin(errors_, "; "));
  }

 private:
  void AddTables(const JsonCursor& array, const std::string& calibration, const std::string& line) {
    int place = 0;
    array.ForEach(
        [&](const JsonCursor& element) { AddTable(element, calibration, line, place++); });
  }

  // `layer`: of a table that does not say it.
  void AddTable(const JsonCursor& value, const std::string& calibration, const std::string& line,
                int layer) {
    absl::Status error;
    const JsonCursor fields = value.WithStatus(&error);
    CalibrationTable& table = tables_.emplace_back();
    const JsonCursor own_calibration = fields["calibration"];
    table.calibration = own_calibration.IsAbsent() ? calibration : own_calibration.String();
    const std::string path = value.Path();
    table.place = absl::StrCat(line, path, path.empty() ? "" : ".");
    const JsonCursor own_layer = fields["layer"];
    if (!own_layer.IsAbsent()) layer = static_cast<int>(own_layer.Integer(0, kMaxLayers - 1));
    table.cdf.set_layer(static_cast<uint32_t>(layer));
    ReadCdf(fields, &table.cdf);
    if (!error.ok()) Fail(absl::StrCat(line, error.message()));
  }

  std::vector<CalibrationTable> tables_;
  std::vector<std::string> errors_;
};

}  // namespace

absl::StatusOr<std::vector<CalibrationTable>> ParseCalibration(std::string_view text) {
  TableCollector tables;
  const auto whole = JsonDocument::Parse(text, kJsonLimits);
  if (whole.ok()) {
    tables.Add(*whole, "");
    return std::move(tables).Finish();
  }
  Lines lines(text);
  bool has_value = false;
  for (std::string_view line; !tables.failed() && lines.Next(&line);) {
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    const std::string place = absl::StrCat("line ", lines.number(), ": ");
    const auto value = JsonDocument::Parse(line, kJsonLimits);
    if (value.ok()) {
      tables.Add(*value, place);
    } else if (has_value) {
      tables.Fail(absl::StrCat(place, value.status().message()));
    } else {  // One value over several lines, which is not JSON.
      return whole.status();
    }
    has_value = true;
  }
  return std::move(tables).Finish();
}

absl::StatusOr<std::vector<v1::LayerCdf>> TablesOf(const std::vector<CalibrationTable>& tables,
                                                   const std::string& name) {
  std::set<std::string> names;
  for (const CalibrationTable& table : tables) names.insert(table.calibration);
  std::vector<v1::LayerCdf> layers;
  for (const CalibrationTable& table : tables) {
    if (names.size() == 1 || table.calibration == name) layers.push_back(table.cdf);
  }
  if (!layers.empty()) return layers;
  return absl::InvalidArgumentError(absl::StrCat("has several calibrations, and none is \"", name,
                                                 "\": ", absl::StrJoin(names, ", ")));
}

std::string FormatCalibration(const std::string& calibration_id,
                              const std::vector<v1::LayerCdf>& layers) {
  std::vector<std::string> lines;
  for (const v1::LayerCdf& layer : layers) {
    std::string line =
        absl::StrCat("{\"layer\":", layer.layer(), ",\"x0\":", json(layer.x0()).dump(),
                     ",\"dx\":", json(layer.dx()).dump(), ",\"cdf\":", Array(layer.cdf()).dump());
    if (!layer.survival().empty()) {
      absl::StrAppend(&line, ",\"survival\":", Array(layer.survival()).dump());
    }
    lines.push_back(line + "}");
  }
  return absl::StrCat("{\"calibration\":", json(calibration_id).dump(), ",\"layers\":[\n",
                      absl::StrJoin(lines, ",\n"), "\n]}\n");
}

}  // namespace olmoe::client::notation
