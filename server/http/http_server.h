#ifndef OLMOE_SERVER_HTTP_HTTP_SERVER_H_
#define OLMOE_SERVER_HTTP_HTTP_SERVER_H_

#include <chrono>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "server/access/gate.h"
#include "server/access/tls_files.h"
#include "server/http/connection_table.h"
#include "server/http/message.h"
#include "server/net/listener.h"

namespace olmoe::http {

// An HTTP/1.1 port for a hostile network: what a client can make it keep is bounded in bytes, in
// time and in connections (RequestParser, ConnectionTable), and a probe gets its answer whatever
// the others do. One thread reads and writes for all; what an answer costs is the handlers'.
// Listens from Create to Stop. Thread-safe.
class HttpServer {
 public:
  struct Options {
    net::Listener listener;  // bound, not listening yet
    std::vector<Route> routes = {};
    std::shared_ptr<access::TlsFiles> tls = {};        // null: plaintext
    std::shared_ptr<const access::Gate> gate = {};  // asks for tokens; null: none are needed
    ConnectionLimits limits = DefaultLimits();
    Refusal refusal = RefusalText;  // of requests that no handler gets
    // Answers under way may take so long at Stop.
    std::chrono::milliseconds stop_grace{100};
  };

  // By the file descriptors that the process may have: a quarter, so that no client takes those of
  // the other ports, the state and the model.
  static ConnectionLimits DefaultLimits();

  // Errors: UNAVAILABLE where the address can not be listened on any more, RESOURCE_EXHAUSTED
  // where the machine gives no thread or descriptor.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Create(Options options);
  ~HttpServer();

  int port() const;  // see net::Listener::port

  // Closes the port and every connection, those with an answer under way a moment later. Calling
  // it again does nothing.
  void Stop();

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_HTTP_SERVER_H_
