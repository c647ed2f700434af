#ifndef OLMOE_SERVER_HTTP_MONITORING_H_
#define OLMOE_SERVER_HTTP_MONITORING_H_

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "server/http/message.h"

namespace prometheus {
class Collectable;
}

namespace olmoe::http {

class LiveState;  // live_state.h

struct MonitoringOptions {
  const prometheus::Collectable* metrics = nullptr;  // not owned
  std::function<bool()> ready;                       // thread-safe, does not wait
  const LiveState* live = nullptr;                   // not owned; null: no page
};

// What the server shows of itself: /metrics for Prometheus (compressed where the client takes
// it), /healthz (the process answers) and /readyz (requests are taken) for supervisors, and the
// live page at / for people. Nothing here changes anything. What is not owned outlives the routes.
// Errors: RESOURCE_EXHAUSTED where the machine gives no thread.
absl::StatusOr<std::vector<Route>> MonitoringRoutes(const MonitoringOptions& options);

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_MONITORING_H_
