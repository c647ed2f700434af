#ifndef OLMOE_CLIENT_ROUTE_POLICY_RULES_H_
#define OLMOE_CLIENT_ROUTE_POLICY_RULES_H_

#include <map>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "client/route/cdf_tables.h"
#include "client/route/routed_row.h"
#include "olmoe/v1/routing.pb.h"
#include "server/routing/policy.h"

namespace olmoe::client::route {

// What a policy does in each layer, without a server: checked as a server checks it,
// except that a calibration may lack layers; their rows are NO_TABLE. Refers to the
// tables. Thread-compatible.
class PolicyRules {
 public:
  // Errors: INVALID_ARGUMENT with one violation per field, below "policy".
  static absl::StatusOr<PolicyRules> Create(const v1::RoutingPolicy& policy,
                                            const routing::RouterShape& shape,
                                            const CdfTables* tables);

  const routing::RouterShape& shape() const { return shape_; }
  // 0 <= layer < shape().num_layers
  const RowRules& Of(int layer);

 private:
  PolicyRules(routing::PolicySpec spec, const routing::RouterShape& shape, const CdfTables* tables)
      : spec_(std::move(spec)), shape_(shape), tables_(tables) {}

  routing::LayerRule Resolve(const routing::Rule& rule, int layer) const;

  routing::PolicySpec spec_;
  routing::RouterShape shape_;
  const CdfTables* tables_;
  std::map<int, RowRules> by_layer_;  // those asked for
};

}  // namespace olmoe::client::route

#endif  // OLMOE_CLIENT_ROUTE_POLICY_RULES_H_
