#ifndef OLMOE_SERVER_HTTP_HTTP_SERVER_H_
#define OLMOE_SERVER_HTTP_HTTP_SERVER_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace httplib {
class Server;
}
namespace prometheus {
class Collectable;
}

namespace olmoe::http {

class LiveState;  // live_state.h

// The HTTP port: /metrics for Prometheus (compressed where the client takes it),
// /healthz (the process answers) and /readyz (requests are taken) for supervisors, and the
// live page at / for people.
// Nothing here changes anything. Listens from Create to Stop. Thread-safe.
class HttpServer {
 public:
  struct Options {
    std::string host = "127.0.0.1";
    int port = 0;  // 0: any free one
    const prometheus::Collectable* metrics = nullptr;  // not owned
    std::function<bool()> ready;                       // thread-safe
    const LiveState* live = nullptr;  // not owned; null: no page
  };

  // Errors: UNAVAILABLE where the address can not be listened on.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Create(Options options);
  ~HttpServer();

  int port() const { return port_; }

  // Finishes the answers under way. Calling it again does nothing.
  void Stop();

 private:
  explicit HttpServer(Options options);
  absl::Status Listen();
  void SetLimits();
  void AddHandlers();

  const Options options_;
  const std::unique_ptr<httplib::Server> server_;
  int port_ = 0;
  std::atomic<bool> ended_ = false;  // no connections are accepted any more
  std::thread thread_;               // accepts connections
};

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_HTTP_SERVER_H_
