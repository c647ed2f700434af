#include "server/http/live_page.h"

#include <httplib.h>

#include <string>
#include <string_view>

#include "glog/logging.h"
#include "server/http/live_assets.h"
#include "server/http/packed_body.h"

namespace olmoe::http {
namespace {

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

// A connection that is kept alive holds one of the server's threads; a page that is left
// open must not keep one from Prometheus.
void SetHeaders(const char* caching, httplib::Response* response) {
  response->set_header("Cache-Control", caching);
  response->set_header("Connection", "close");
  response->set_header("Content-Security-Policy", kPolicy);
  response->set_header("Referrer-Policy", "no-referrer");
  response->set_header("X-Content-Type-Options", "nosniff");
}

void AddAsset(const LiveAsset& asset, httplib::Server* server) {
  const std::string path = asset.name == kIndex ? "/" : "/live/" + std::string(asset.name);
  server->Get(path, [&asset](const httplib::Request& request, httplib::Response& response) {
    SetHeaders("no-cache", &response);
    SetPackedBody(std::string(asset.body), TypeOf(asset.name), request, &response);
  });
}

void AddJson(const char* path, const LiveState& state, std::string (LiveState::*make)() const,
             httplib::Server* server) {
  server->Get(path, [&state, make](const httplib::Request& request, httplib::Response& response) {
    SetHeaders("no-store", &response);
    SetPackedBody((state.*make)(), kJsonType, request, &response);
  });
}

}  // namespace

void AddLivePage(const LiveState& state, httplib::Server* server) {
  for (const LiveAsset& asset : LiveAssets()) AddAsset(asset, server);
  AddJson("/live.json", state, &LiveState::StateJson, server);
  AddJson("/live/experts.json", state, &LiveState::ExpertsJson, server);
}

}  // namespace olmoe::http
