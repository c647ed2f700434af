#include "client/route/cdf_tables.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace olmoe::client::route {
namespace {

// True where `exact` is `rounded` without the rounding of 1 - cdf: that is what p-values are
// made of, and the tail is where it matters.
bool IsComplement(const std::vector<double>& rounded,
                  const google::protobuf::RepeatedField<double>& exact) {
  constexpr double kRounding = 1e-9;
  return std::equal(
      rounded.begin(), rounded.end(), exact.begin(), exact.end(),
      [](double a, double b) { return b >= 0 && b <= 1 && std::abs(a - b) <= kRounding; });
}

absl::StatusOr<routing::CdfTable> MakeTable(const v1::LayerCdf& layer) {
  const std::vector<double> cdf(layer.cdf().begin(), layer.cdf().end());
  std::vector<FieldViolation> violations;
  routing::CheckCdf(layer.x0(), layer.dx(), cdf, "", &violations);
  if (!violations.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(violations[0].field, ": ", violations[0].description));
  }
  routing::CdfTable table = routing::CdfTable::FromCdf(layer.x0(), layer.dx(), cdf);
  if (layer.survival().empty()) return table;
  if (!IsComplement(table.survival, layer.survival())) {
    return absl::InvalidArgumentError("survival: must be 1 - cdf");
  }
  table.survival.assign(layer.survival().begin(), layer.survival().end());
  return table;
}

}  // namespace

absl::StatusOr<CdfTables> MakeCdfTables(const std::vector<notation::CalibrationTable>& tables) {
  CdfTables made;
  for (const notation::CalibrationTable& from : tables) {
    auto table = MakeTable(from.cdf);
    if (!table.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(from.place, table.status().message()));
    }
    const int layer = static_cast<int>(from.cdf.layer());
    if (made.try_emplace({from.calibration, layer}, *std::move(table)).second) continue;
    return absl::InvalidArgumentError(absl::StrCat(from.place, "layer: layer ", layer, " of \"",
                                                   from.calibration, "\" occurs twice"));
  }
  return made;
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
