#include "server/routing/calibration.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
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
  CheckCalibrationId(options.calibration_id, "calibration_id", &violations);
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

CalibrationSet::CalibrationSet(Hooks hooks,
                               const std::vector<std::shared_ptr<const Calibration>>& initial)
    : hooks_(std::move(hooks)) {
  for (const auto& calibration : initial) {
    CHECK(by_id_.emplace(calibration->calibration_id(), calibration).second);
  }
}

absl::Status CalibrationSet::Add(std::shared_ptr<const Calibration> calibration) {
  CHECK(calibration != nullptr);
  const std::string& id = calibration->calibration_id();
  absl::MutexLock change(&change_mu_);
  if (const auto existing = Find(id); existing != nullptr) {
    if (existing->digest() == calibration->digest()) return absl::OkStatus();
    return absl::AlreadyExistsError(
        absl::StrCat("calibration \"", id, "\" exists with other tables"));
  }
  if (hooks_.before_add) {
    if (absl::Status status = hooks_.before_add(*calibration); !status.ok()) return status;
  }
  absl::MutexLock lock(&mu_);
  by_id_.emplace(id, std::move(calibration));
  return absl::OkStatus();
}

absl::Status CalibrationSet::Remove(std::string_view calibration_id) {
  const std::string id(calibration_id);
  absl::MutexLock change(&change_mu_);
  std::shared_ptr<const Calibration> removed = Find(id);  // destroyed outside mu_
  if (removed == nullptr) {
    return absl::NotFoundError(absl::StrCat("there is no calibration \"", id, "\""));
  }
  if (hooks_.before_remove) {
    if (absl::Status status = hooks_.before_remove(id); !status.ok()) return status;
  }
  absl::MutexLock lock(&mu_);
  by_id_.erase(id);
  return absl::OkStatus();
}

std::shared_ptr<const Calibration> CalibrationSet::Find(std::string_view calibration_id) const {
  absl::MutexLock lock(&mu_);
  const auto found = by_id_.find(calibration_id);
  return found == by_id_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<const Calibration>> CalibrationSet::List() const {
  absl::MutexLock lock(&mu_);
  std::vector<std::shared_ptr<const Calibration>> list;
  list.reserve(by_id_.size());
  for (const auto& [id, calibration] : by_id_) list.push_back(calibration);
  return list;
}

}  // namespace olmoe::routing
