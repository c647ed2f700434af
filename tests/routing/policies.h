// Short ways to write rules, policies and plans.
#ifndef OLMOE_TESTS_ROUTING_POLICIES_H_
#define OLMOE_TESTS_ROUTING_POLICIES_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "google/rpc/error_details.pb.h"
#include "server/routing/calibration.h"
#include "server/routing/plan.h"
#include "server/util/status_details.h"

namespace olmoe::routing {

inline constexpr RouterShape kSmall{16, 64, 8, false};

inline Rule TopKRule(uint32_t k, WeightMode mode = WeightMode::kModelDefault) {
  return {TopK{k}, mode};
}

inline Rule TopPRule(double p) {
  TopP top_p;
  top_p.p = p;
  return {top_p, WeightMode::kModelDefault};
}

inline BenjaminiHochberg Bh(double alpha, std::string calibration_id = "cal") {
  BenjaminiHochberg bh;
  bh.alpha = alpha;
  bh.p_values.calibration_id = std::move(calibration_id);
  return bh;
}

inline Rule ToRule(BenjaminiHochberg bh) { return {std::move(bh), WeightMode::kModelDefault}; }
inline Rule ToRule(HigherCriticism hc) { return {std::move(hc), WeightMode::kModelDefault}; }

inline PolicySpec PolicyOf(std::optional<Rule> apply, std::optional<Rule> analyze = std::nullopt,
                           std::string policy_id = "p") {
  PolicySpec spec;
  spec.policy_id = std::move(policy_id);
  spec.apply = std::move(apply);
  spec.analyze = std::move(analyze);
  return spec;
}

inline LayerOverride Override(std::vector<uint32_t> layers, std::optional<Rule> apply,
                              std::optional<Rule> analyze = std::nullopt) {
  return {std::move(layers), std::move(apply), std::move(analyze)};
}

inline ArmSpec ArmOf(std::string arm_id, PolicySpec policy, uint32_t weight = 1,
                     bool allow_explicit = false) {
  return {std::move(arm_id), std::move(policy), weight, allow_explicit};
}

inline PlanSpec PlanOf(std::vector<ArmSpec> arms, std::string salt = "", std::string note = "") {
  return {std::move(arms), std::move(salt), std::move(note)};
}

// One table for each of the first `num_layers` layers, all the same: the p-value
// of z in [-1, 0] is -z.
inline std::shared_ptr<const Calibration> CalibrationOf(std::string id, int num_layers,
                                                        double x0 = -1) {
  Calibration::Options options;
  options.calibration_id = std::move(id);
  for (int layer = 0; layer < num_layers; ++layer) {
    options.tables[layer] = CdfTable::FromCdf(x0, 1, std::vector<double>{0, 1});
  }
  return Calibration::Create(std::move(options)).value();
}

// The detail of type `Detail` in `status`; a default one where there is none.
template <typename Detail>
Detail DetailOf(const absl::Status& status) {
  return olmoe::DetailOf<Detail>(status).value_or(Detail());
}

// The fields of the BadRequest in `status`, in order.
inline std::vector<std::string> ViolatedFields(const absl::Status& status) {
  std::vector<std::string> fields;
  const auto bad_request = DetailOf<google::rpc::BadRequest>(status);
  for (const auto& violation : bad_request.field_violations()) fields.push_back(violation.field());
  return fields;
}

}  // namespace olmoe::routing

#endif  // OLMOE_TESTS_ROUTING_POLICIES_H_
