// Calibrations: what turns a router logit into a p-value. Building one from
// logits is calibration_builder.h.
#ifndef OLMOE_SERVER_ROUTING_CALIBRATION_H_
#define OLMOE_SERVER_ROUTING_CALIBRATION_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/routing/named_set.h"
#include "server/util/status_details.h"

namespace olmoe::routing {

// p-values of both kinds are clamped to [kMinPValue, 1].
inline constexpr double kMinPValue = 1e-12;
inline double ClampPValue(double p) { return std::min(1.0, std::max(kMinPValue, p)); }

inline constexpr size_t kMaxCdfPoints = 65536;

// The router-logit distribution of one layer: its survival function 1 - F on the
// uniform grid x0 + i dx, linear between the points and constant outside. Kept as
// survival in double, because that is what a p-value is: 1 - F would cancel where
// it matters most. Immutable once made: thread-safe.
struct CdfTable {
  double x0 = 0;
  double dx = 0;
  std::vector<double> survival;  // [2..kMaxCdfPoints], non-increasing, in [0, 1]

  // survival = 1 - cdf. The arguments have passed CheckCdf.
  static CdfTable FromCdf(double x0, double dx, std::span<const double> cdf);

  // Returns 1 - F(logit), clamped. `logit` is no NaN.
  double PValue(double logit) const;
  // The same for many. REQUIRES: `logits` and `p` have the same size.
  template <class Logit>
  void PValues(std::span<const Logit> logits, std::span<double> p) const {
    for (size_t i = 0; i < logits.size(); ++i) p[i] = PValue(logits[i]);
  }
};

// Appends one violation per field of a CDF as it comes from outside: 2..65536
// points, finite x0, finite dx > 0, cdf non-decreasing in [0, 1]. Fields are named
// below `prefix`: "layer_cdf.dx", "layer_cdf.cdf[17]" (the first bad point).
void CheckCdf(double x0, double dx, std::span<const double> cdf, std::string_view prefix,
              std::vector<FieldViolation>* violations);

// Named tables of the layers of one model. Immutable: thread-safe.
class Calibration {
 public:
  static constexpr char kKind[] = "calibration";
  static constexpr char kContent[] = "tables";

  struct Options {
    std::string calibration_id;      // [a-z0-9][a-z0-9._-]{0,63}
    std::map<int, CdfTable> tables;  // by layer, at least one
    uint64_t num_tokens = 0;         // that it was built from; 0: imported
    int trim_top = 0;                // highest logits of each token left out
  };
  // Errors: INVALID_ARGUMENT with one violation per field.
  static absl::StatusOr<std::shared_ptr<const Calibration>> Create(Options options);

  const std::string& calibration_id() const { return options_.calibration_id; }
  const std::string& name() const { return options_.calibration_id; }
  // Returns the table of `layer`, null where there is none: never another layer's.
  const CdfTable* table(int layer) const;
  const std::map<int, CdfTable>& tables() const { return options_.tables; }
  int num_layers() const { return static_cast<int>(options_.tables.size()); }
  uint64_t num_tokens() const { return options_.num_tokens; }
  int trim_top() const { return options_.trim_top; }
  // SHA-256 of the tables alone: equal p-values, equal digest. Lower-case hex.
  const std::string& digest() const { return digest_; }

 private:
  explicit Calibration(Options options);

  const Options options_;
  const std::string digest_;
};

// The calibrations of a server. Thread-safe.
class CalibrationSet : public NamedSet<Calibration> {
 public:
  using NamedSet::NamedSet;
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_CALIBRATION_H_
