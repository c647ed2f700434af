#include "server/http/monitoring.h"

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "glog/logging.h"
#include "prometheus/collectable.h"
#include "server/http/live_assets.h"
#include "server/http/live_state.h"
#include "server/http/metrics_text.h"
#include "server/http/renderer.h"

namespace olmoe::http {
namespace {

constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr char kTextType[] = "text/plain; charset=utf-8";
constexpr char kJsonType[] = "application/json";
constexpr std::string_view kIndex = "index.html";

// The page loads nothing from elsewhere, and nothing may frame it.
constexpr char kPolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const char* TypeOf(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  if (name.ends_with(".svg")) return "image/svg+xml";
  CHECK(name.ends_with(".js")) << name;
  return "text/javascript; charset=utf-8";
}

Fields PageFields(const char* caching) {
  return {{"Cache-Control", caching},
          {"Content-Security-Policy", kPolicy},
          {"Referrer-Policy", "no-referrer"},
          {"X-Content-Type-Options", "nosniff"}};
}

// Packed once for all who will ask.
Route AssetRoute(const LiveAsset& asset) {
  PackedText text;
  text.plain = std::make_shared<const std::string>(asset.body);
  text.gzip = std::make_shared<const std::string>(Gzip(asset.body));
  return {.method = "GET",
          .path = asset.name == kIndex ? "/" : "/live/" + std::string(asset.name),
          .handler = [text = std::move(text), type = TypeOf(asset.name)](const Request& request,
                                                                         Reply reply) {
            Response response =
                PackedResponse(text, TakesGzip(request.Header("Accept-Encoding")), type);
            for (auto& field : PageFields("no-cache")) response.fields.push_back(std::move(field));
            reply.Send(std::move(response));
          }};
}

// Adds / (the page), /live/FILE (its parts), /live.json and /live/experts.json (live_state.h).
// `state` outlives the routes.
void AddLivePage(const LiveState& state, const std::shared_ptr<Renderer>& renderer,
                 std::vector<Route>* routes) {
  for (const LiveAsset& asset : LiveAssets()) routes->push_back(AssetRoute(asset));
  const auto add_json = [&](const char* path, std::string (LiveState::*make)() const) {
    routes->push_back(RenderedRoute(
        renderer, path, [&state, make] { return (state.*make)(); }, kJsonType,
        PageFields("no-store")));
  };
  add_json("/live.json", &LiveState::StateJson);
  add_json("/live/experts.json", &LiveState::ExpertsJson);
}

}  // namespace

absl::StatusOr<std::vector<Route>> MonitoringRoutes(const MonitoringOptions& options) {
  auto started = Renderer::Start();
  if (!started.ok()) return started.status();
  const std::shared_ptr<Renderer> renderer = *std::move(started);

  std::vector<Route> routes;
  routes.push_back(RenderedRoute(
      renderer, "/metrics", [metrics = options.metrics] { return MetricsText(metrics->Collect()); },
      kMetricsType));
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
