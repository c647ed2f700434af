#include "client/notation/calibration_file.h"

#include <cmath>
#include <cstdint>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/notation/json_fields.h"
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
void ReadPoints(JsonFields* fields, v1::LayerCdf* cdf) {
  const std::vector<double> points = fields->Numbers("x");
  if (points.size() < 2 || points.size() != static_cast<size_t>(cdf->cdf_size())) {
    fields->Fail("x", absl::StrCat("must have as many points as cdf (", cdf->cdf_size(),
                                   "), and 2 or more; has ", points.size()));
    return;
  }
  const double first = points.front();
  const double step = (points.back() - first) / static_cast<double>(points.size() - 1);
  for (size_t i = 0; i < points.size(); ++i) {
    const double expected = first + step * static_cast<double>(i);
    if (std::abs(points[i] - expected) <= 0.01 * std::abs(step)) continue;
    fields->Fail(absl::StrCat("x[", i, "]"),
                 absl::StrCat("is not evenly spaced: is ", points[i], ", not ", expected));
    return;
  }
  cdf->set_x0(first);
  cdf->set_dx(step);
}

void ReadCdf(JsonFields* fields, v1::LayerCdf* cdf) {
  const std::vector<double> values = fields->Numbers("cdf");
  cdf->mutable_cdf()->Add(values.begin(), values.end());
  if (fields->Has("survival")) {
    const std::vector<double> survival = fields->Numbers("survival");
    cdf->mutable_survival()->Add(survival.begin(), survival.end());
  }
  if (fields->Has("x")) return ReadPoints(fields, cdf);
  if (!fields->Has("x0") && !fields->Has("dx")) {
    return fields->Fail("", "has neither \"x\" nor \"x0\" and \"dx\"");
  }
  cdf->set_x0(fields->Number("x0"));
  cdf->set_dx(fields->Number("dx"));
}

// Collects the tables of a file, and what is wrong with them. Thread-compatible.
class TableCollector {
 public:
  // `line`: where the value stands, "line 2: ", or nothing where it is the whole file.
  void AddValue(const json& value, const std::string& line) {
    if (value.is_array()) return AddTables(value, "", line);
    if (!value.is_object() || !value.contains("layers")) return AddTable(value, "", line, "", 0);
    JsonFields fields(value, "");
    const std::string calibration = fields.Has("calibration") ? fields.Text("calibration") : "";
    const json& tables = fields.Object("layers");
    if (!tables.is_array()) fields.Fail("layers", "must be an array of tables");
    if (!fields.error().empty()) return Fail(line + fields.error());
    AddTables(tables, calibration, line);
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
  void AddTables(const json& array, const std::string& calibration, const std::string& line) {
    int place = 0;
    for (const json& element : array) {
      AddTable(element, calibration, line, absl::StrCat("layers[", place, "]"), place);
      ++place;
    }
  }

  // `layer`: of a table that does not say it.
  void AddTable(const json& value, const std::string& calibration, const std::string& line,
                const std::string& name, int layer) {
    JsonFields fields(value, name);
    CalibrationTable& table = tables_.emplace_back();
    table.calibration = fields.Has("calibration") ? fields.Text("calibration") : calibration;
    table.place = absl::StrCat(line, name, name.empty() ? "" : ".");
    if (fields.Has("layer")) layer = fields.Integer("layer", 0, kMaxLayers - 1);
    table.cdf.set_layer(static_cast<uint32_t>(layer));
    ReadCdf(&fields, &table.cdf);
    if (!fields.error().empty()) Fail(line + fields.error());
  }

  std::vector<CalibrationTable> tables_;
  std::vector<std::string> errors_;
};

}  // namespace

absl::StatusOr<std::vector<CalibrationTable>> ParseCalibration(std::string_view text) {
  TableCollector tables;
  const json whole = json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!whole.is_discarded()) {
    tables.AddValue(whole, "");
    return std::move(tables).Finish();
  }
  Lines lines(text);
  for (std::string_view line; !tables.failed() && lines.Next(&line);) {
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    const std::string place = absl::StrCat("line ", lines.number(), ": ");
    const json value = json::parse(line, /*cb=*/nullptr, /*allow_exceptions=*/false);
    if (value.is_discarded()) {
      tables.Fail(place + "is not JSON");
    } else {
      tables.AddValue(value, place);
    }
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
