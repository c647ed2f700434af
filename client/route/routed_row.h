// One router's decision about one row of logits, as the JSON object that
// tests/data/routing names `expected`.
#ifndef OLMOE_CLIENT_ROUTE_ROUTED_ROW_H_
#define OLMOE_CLIENT_ROUTE_ROUTED_ROW_H_

#include <optional>
#include <span>
#include <vector>

#include "nlohmann/json.hpp"
#include "server/routing/route.h"

namespace olmoe::client::route {

// The rules of one layer, valid for the shape.
struct RowRules {
  routing::RouterShape shape;
  routing::LayerRule apply;
  std::optional<routing::LayerRule> analyze;
  std::optional<routing::LayerRule> decode;  // of late rows, in place of apply

  const routing::LayerRule& Applied(const routing::RowPlace& place) const {
    return place.late && decode ? *decode : apply;
  }
};

struct RoutedRow {
  // {order_prefix, k_raw, k, min_hit, max_hit, force_hit?, p_first?, weights, candidate?,
  // intersection?, union?}, or {"error": "NON_FINITE_LOGIT" | "NO_TABLE"}.
  nlohmann::ordered_json json;
  bool routed = false;           // no error
  routing::RowRouting decision;  // where routed
};

// `logits`: [shape.num_experts].
RoutedRow RouteLogits(std::span<const float> logits, const RowRules& rules,
                      const routing::RowPlace& place);

// The same object for a row that has been routed by no rule. `decision`: without an analyzed one.
nlohmann::ordered_json RecordedJson(const routing::RowRouting& decision);
nlohmann::ordered_json ErrorJson(routing::RouteError error);

// Logits as they come from JSON or a file: the nearest float; beyond its range infinite.
std::vector<float> ToLogits(const std::vector<double>& numbers);

}  // namespace olmoe::client::route

#endif  // OLMOE_CLIENT_ROUTE_ROUTED_ROW_H_
