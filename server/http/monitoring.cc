#include "server/http/monitoring.h"

#include <memory>
#include <string>
#include <utility>

#include "prometheus/collectable.h"
#include "server/http/live_page.h"
#include "server/http/metrics_text.h"
#include "server/http/renderer.h"

namespace olmoe::http {
namespace {

constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr char kTextType[] = "text/plain; charset=utf-8";

}  // namespace

absl::StatusOr<std::vector<Route>> MonitoringRoutes(const MonitoringOptions& options) {
  auto started = Renderer::Start();
  if (!started.ok()) return started.status();
  const std::shared_ptr<Renderer> renderer = *std::move(started);

  std::vector<Route> routes;
  routes.push_back(RenderedRoute(
      renderer, "/metrics",
      [metrics = options.metrics] { return MetricsText(metrics->Collect()); }, kMetricsType));
  routes.push_back({"GET", "/healthz", [](const Request&, Reply reply) {
                      reply.Send(TextResponse(200, "ok\n", kTextType));
                    }});
  routes.push_back({"GET", "/readyz", [ready = options.ready](const Request&, Reply reply) {
                      reply.Send(ready() ? TextResponse(200, "ready\n", kTextType)
                                         : TextResponse(503, "not ready\n", kTextType));
                    }});
  if (options.live != nullptr) AddLivePage(*options.live, renderer, &routes);
  return routes;
}

}  // namespace olmoe::http
