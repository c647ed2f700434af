// What the traces of replies say: which experts ran, and which an analyzed rule would have run.
#ifndef OLMOE_CLIENT_EVAL_TRACED_H_
#define OLMOE_CLIENT_EVAL_TRACED_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/eval/result.h"
#include "client/route/cdf_tables.h"
#include "client/route/policy_rules.h"
#include "client/transport/rpc_client.h"
#include "olmoe/v1/inference.pb.h"
#include "server/routing/route.h"

namespace olmoe::client::eval {

routing::RouterShape ShapeOf(const v1::GetModelInfoResponse& model);

// Adds the experts that ran to `counts`, [num_layers * num_experts]. `response`: to a request for
// such a trace. INTERNAL where it has none that is whole.
absl::Status CountExperts(const v1::ScoreResponse& response, const routing::RouterShape& shape,
                          ExpertCounts* counts);

// Where a row of an item's trace stands. A rolling item's rows are those of its windows of
// `max_context` tokens; the last one ends where the text ends, and of what it repeats the trace has
// nothing.
routing::RowPlace PlaceOfRow(const v1::ScoreItem& item, const v1::ScoreResult& result,
                             uint32_t max_context, size_t row);

// Decides by the analyzed rules of a policy on the logits of traces. The server's own counts of
// them are sums over all requests, while this is exact for each, because both decide by one
// library. Thread-compatible.
class Analyzer {
 public:
  // Null where the policy analyzes nothing. Asks the admin port for the calibrations that its
  // analyzed rules need. Errors: those of these calls, naming the calibration; INVALID_ARGUMENT for
  // a policy that does not suit the model.
  static absl::StatusOr<std::shared_ptr<Analyzer>> Create(const v1::RoutingPolicy& policy,
                                                          const v1::GetModelInfoResponse& model,
                                                          transport::RpcClient& rpc);

  // Adds what the rules would have selected to `result`. `response`: to `request`, which asked for
  // experts and logits, and has no item with an error.
  absl::Status Add(const v1::ScoreRequest& request, const v1::ScoreResponse& response,
                   UnitResult* result);

 private:
  explicit Analyzer(uint32_t max_context) : max_context_(max_context) {}
  absl::Status AddSlot(const routing::RowPlace& place, std::span<const uint8_t> experts,
                       std::span<const float> logits, UnitResult* result);

  const uint32_t max_context_;
  route::CdfTables tables_;
  std::optional<route::PolicyRules> rules_;  // refers to the tables
};

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_TRACED_H_
