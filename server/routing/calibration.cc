#include "server/routing/calibration.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/routing/field_checks.h"
#include "server/util/sha256.h"

namespace olmoe::routing {
namespace {

std::string DigestOf(const std::map<int, CdfTable>& tables) {
  Sha256 sha256;
  for (const auto& [layer, table] : tables) {
    const double header[] = {static_cast<double>(layer), table.x0, table.dx,
                             static_cast<double>(table.survival.size())};
    sha256.Update(header, sizeof(header));
    sha256.Update(table.survival.data(), table.survival.size() * sizeof(double));
  }
  return sha256.HexDigest();
}

std::vector<double> CdfOf(const CdfTable& table) {
  std::vector<double> cdf;
  cdf.reserve(table.survival.size());
  for (const double s : table.survival) cdf.push_back(1 - s);
  return cdf;
}

// Written so that NaN fails.
bool IsPoint(double value, double at_least) { return value >= at_least && value <= 1; }

}  // namespace

CdfTable CdfTable::FromCdf(double x0, double dx, std::span<const double> cdf) {
  CdfTable table{x0, dx, {}};
  table.survival.reserve(cdf.size());
  for (const double f : cdf) table.survival.push_back(1 - f);
  return table;
}

double CdfTable::PValue(double logit) const {
  const double t = (logit - x0) / dx;
  const size_t last = survival.size() - 1;
  if (t <= 0) return ClampPValue(survival.front());
  if (t >= static_cast<double>(last)) return ClampPValue(survival.back());
  const size_t i = static_cast<size_t>(t);
  const double fraction = t - static_cast<double>(i);
  return ClampPValue(survival[i] + fraction * (survival[i + 1] - survival[i]));
}

void CheckCdf(double x0, double dx, std::span<const double> cdf, std::string_view prefix,
              std::vector<FieldViolation>* violations) {
  if (!std::isfinite(x0)) {
    violations->push_back({FieldPath(prefix, "x0"), absl::StrCat("must be finite, is ", x0)});
  }
  if (!(dx > 0 && std::isfinite(dx))) {
    violations->push_back(
        {FieldPath(prefix, "dx"), absl::StrCat("must be > 0 and finite, is ", dx)});
  }
  if (cdf.size() < 2 || cdf.size() > kMaxCdfPoints) {
    violations->push_back({FieldPath(prefix, "cdf"), absl::StrCat("must have 2..", kMaxCdfPoints,
                                                                  " points, has ", cdf.size())});
  }
  double previous = 0;
  for (size_t i = 0; i < cdf.size(); ++i) {
    if (!IsPoint(cdf[i], previous)) {
      violations->push_back({FieldPath(prefix, "cdf", i),
                             absl::StrCat("must be in [0, 1] and not below the point before it (",
                                          previous, "), is ", cdf[i])});
      return;
    }
    previous = cdf[i];
  }
}

absl::StatusOr<std::shared_ptr<const Calibration>> Calibration::Create(Options options) {
  std::vector<FieldViolation> violations;
  CheckLongName(options.calibration_id, "calibration_id", &violations);
  if (options.tables.empty()) violations.push_back({"layers", "must have at least one table"});
  for (const auto& [layer, table] : options.tables) {
    const std::string prefix = absl::StrCat("layers[", layer, "]");
    if (layer < 0) violations.push_back({prefix, "must not be negative"});
    CheckCdf(table.x0, table.dx, CdfOf(table), prefix, &violations);
  }
  if (!violations.empty()) return InvalidFields(violations);
  return std::shared_ptr<const Calibration>(new Calibration(std::move(options)));
}

Calibration::Calibration(Options options)
    : options_(std::move(options)), digest_(DigestOf(options_.tables)) {}

const CdfTable* Calibration::table(int layer) const {
  const auto found = options_.tables.find(layer);
  return found == options_.tables.end() ? nullptr : &found->second;
}

}  // namespace olmoe::routing
