#ifndef OLMOE_SERVER_RPC_LOGIT_COLLECTOR_H_
#define OLMOE_SERVER_RPC_LOGIT_COLLECTOR_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/token_sink.h"
#include "server/routing/calibration_builder.h"

namespace olmoe::rpc {

// Counts the router logits of tokens, at most `max_tokens`. One user at a time.
class LogitCollector {
 public:
  // `shape` and `trim_top` are in range (CHECK).
  LogitCollector(const routing::RouterShape& shape, int trim_top, uint64_t max_tokens);

  // Rows as the engine gives them. [layers][num_rows][experts]. False: that was enough.
  bool AddRows(std::span<const float> router_logits, int num_rows);
  // A trace of a window. [positions][layers][experts]
  void AddTrace(const engine::RoutingTrace& trace);

  // Errors: FAILED_PRECONDITION where nothing was collected.
  absl::StatusOr<std::shared_ptr<const routing::Calibration>> Build(std::string id) const {
    return builder_.Build(std::move(id));
  }

 private:
  void Add(int layer, std::span<const float> logits);

  const routing::RouterShape shape_;
  const uint64_t max_tokens_;
  uint64_t num_tokens_ = 0;
  routing::CalibrationBuilder builder_;
};

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_LOGIT_COLLECTOR_H_
