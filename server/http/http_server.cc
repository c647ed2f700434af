#include "server/http/http_server.h"

#include <httplib.h>
#include <sys/socket.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/http/live_page.h"
#include "server/http/metrics_text.h"
#include "server/http/packed_body.h"

namespace olmoe::http {
namespace {

constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr char kTextType[] = "text/plain; charset=utf-8";
constexpr size_t kNumThreads = 8;  // a browser opens several connections
constexpr size_t kMaxRequestBytes = 4096;
constexpr auto kClientTimeout = std::chrono::seconds(5);

// httplib's own choice shares a port in use with whoever has it.
void ReuseAddressOnly(socket_t socket) {
  const int yes = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
}

}  // namespace

HttpServer::HttpServer(Options options)
    : options_(std::move(options)), server_(std::make_unique<httplib::Server>()) {}

HttpServer::~HttpServer() { Stop(); }

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Create(Options options) {
  std::unique_ptr<HttpServer> server(new HttpServer(std::move(options)));
  server->SetLimits();
  server->AddHandlers();
  if (absl::Status status = server->Listen(); !status.ok()) return status;
  return server;
}

void HttpServer::SetLimits() {
  server_->new_task_queue = [] { return new httplib::ThreadPool(kNumThreads); };
  server_->set_payload_max_length(kMaxRequestBytes);
  server_->set_read_timeout(kClientTimeout);
  server_->set_write_timeout(kClientTimeout);
  server_->set_keep_alive_timeout(kClientTimeout.count());
  server_->set_socket_options(ReuseAddressOnly);
}

void HttpServer::AddHandlers() {
  server_->Get("/metrics", [this](const httplib::Request& request, httplib::Response& response) {
    SetPackedBody(MetricsText(options_.metrics->Collect()), kMetricsType, request, &response);
  });
  server_->Get("/healthz", [](const httplib::Request&, httplib::Response& response) {
    response.set_content("ok\n", kTextType);
  });
  server_->Get("/readyz", [this](const httplib::Request&, httplib::Response& response) {
    const bool ready = options_.ready();
    response.status = ready ? 200 : 503;
    response.set_content(ready ? "ready\n" : "not ready\n", kTextType);
  });
  if (options_.live != nullptr) AddLivePage(*options_.live, server_.get());
}

absl::Status HttpServer::Listen() {
  const bool any = options_.port == 0;
  port_ = any ? server_->bind_to_any_port(options_.host)
              : (server_->bind_to_port(options_.host, options_.port) ? options_.port : -1);
  if (port_ <= 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options_.host, ":", options_.port,
                     ": the port is in use or the address does not belong to this machine"));
  }
  thread_ = std::thread([this] {
    server_->listen_after_bind();
    ended_ = true;
  });
  return absl::OkStatus();
}

void HttpServer::Stop() {
  if (!thread_.joinable()) return;
  // stop() does nothing before the thread has got as far as listening.
  while (!server_->is_running() && !ended_) std::this_thread::yield();
  server_->stop();
  thread_.join();
}

}  // namespace olmoe::http
