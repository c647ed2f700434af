#include "client/notation/calibration_file.h"

#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "nlohmann/json.hpp"

namespace olmoe::client::notation {
namespace {

using nlohmann::json;

bool IsNumbers(const json& value) {
  if (!value.is_array()) return false;
  for (const json& element : value) {
    if (!element.is_number()) return false;
  }
  return true;
}

json Numbers(const google::protobuf::RepeatedField<double>& values) {
  return std::vector<double>(values.begin(), values.end());
}

const json* Find(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

// What is wrong with evenly spaced points, or nothing and their grid. Published
// tables are rounded to float32: a point may be off by a hundredth of the distance.
std::string SetGrid(const json& points, v1::LayerCdf* table) {
  if (!IsNumbers(points) || points.size() < 2) return "\"x\" is not an array of 2 numbers or more";
  const double first = points.front().get<double>();
  const double step =
      (points.back().get<double>() - first) / static_cast<double>(points.size() - 1);
  for (size_t i = 0; i < points.size(); ++i) {
    const double expected = first + step * static_cast<double>(i);
    if (std::abs(points[i].get<double>() - expected) > 0.01 * std::abs(step)) {
      return absl::StrCat("\"x\" is not evenly spaced: x[", i, "] is ", points[i].get<double>(),
                          ", not ", expected);
    }
  }
  table->set_x0(first);
  table->set_dx(step);
  return "";
}

std::string SetTable(const json& object, v1::LayerCdf* table) {
  if (!object.is_object()) return "is not an object";
  const json* cdf = Find(object, "cdf");
  if (cdf == nullptr || !IsNumbers(*cdf)) return "\"cdf\" is not an array of numbers";
  for (const json& value : *cdf) table->add_cdf(value.get<double>());
  if (const json* survival = Find(object, "survival"); survival != nullptr) {
    if (!IsNumbers(*survival)) return "\"survival\" is not an array of numbers";
    for (const json& value : *survival) table->add_survival(value.get<double>());
  }
  if (const json* layer = Find(object, "layer"); layer != nullptr) {
    if (!layer->is_number_unsigned() || layer->get<uint64_t>() > UINT32_MAX) {
      return "\"layer\" is not a layer";
    }
    table->set_layer(layer->get<uint32_t>());
  }
  if (const json* points = Find(object, "x"); points != nullptr) {
    if (points->size() != cdf->size()) return "\"x\" and \"cdf\" are not of one length";
    return SetGrid(*points, table);
  }
  const json* x0 = Find(object, "x0");
  const json* dx = Find(object, "dx");
  if (x0 == nullptr || dx == nullptr || !x0->is_number() || !dx->is_number()) {
    return "has neither \"x\" nor numbers \"x0\" and \"dx\"";
  }
  table->set_x0(x0->get<double>());
  table->set_dx(dx->get<double>());
  return "";
}

}  // namespace

absl::StatusOr<std::vector<v1::LayerCdf>> ParseCalibration(std::string_view text) {
  const json root = json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  const json* tables = &root;
  if (root.is_object()) tables = Find(root, "layers");
  if (root.is_discarded() || tables == nullptr || !tables->is_array() || tables->empty()) {
    return absl::InvalidArgumentError(
        "not JSON with an array \"layers\" of tables {\"x0\", \"dx\", \"cdf\"} or {\"x\", "
        "\"cdf\"}");
  }
  std::vector<v1::LayerCdf> layers;
  std::vector<std::string> errors;
  for (const json& object : *tables) {
    const size_t place = layers.size();
    layers.emplace_back().set_layer(static_cast<uint32_t>(place));
    if (const std::string error = SetTable(object, &layers.back()); !error.empty()) {
      errors.push_back(absl::StrCat("layers[", place, "] ", error));
    }
  }
  if (errors.empty()) return layers;
  return absl::InvalidArgumentError(absl::StrJoin(errors, "; "));
}

std::string FormatCalibration(const std::string& calibration_id,
                              const std::vector<v1::LayerCdf>& layers) {
  std::vector<std::string> lines;
  for (const v1::LayerCdf& layer : layers) {
    std::string line = absl::StrCat("{\"layer\":", layer.layer(), ",\"x0\":",
                                    json(layer.x0()).dump(), ",\"dx\":", json(layer.dx()).dump(),
                                    ",\"cdf\":", Numbers(layer.cdf()).dump());
    if (!layer.survival().empty()) {
      absl::StrAppend(&line, ",\"survival\":", Numbers(layer.survival()).dump());
    }
    lines.push_back(line + "}");
  }
  return absl::StrCat("{\"calibration\":", json(calibration_id).dump(), ",\"layers\":[\n",
                      absl::StrJoin(lines, ",\n"), "\n]}\n");
}

}  // namespace olmoe::client::notation
