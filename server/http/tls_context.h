// For http_server.cc alone: what is Asio stays in these files.
#ifndef OLMOE_SERVER_HTTP_TLS_CONTEXT_H_
#define OLMOE_SERVER_HTTP_TLS_CONTEXT_H_

#include <memory>
#include <utility>  // which Boost 1.74 forgets

#include <boost/asio/ssl/context.hpp>

#include "server/access/tls_files.h"

namespace olmoe::http {

// What a port's TLS is done with: made anew where its files have changed, while connections go on
// with what they began with. Network thread only.
class TlsContext {
 public:
  explicit TlsContext(std::shared_ptr<access::TlsFiles> files) : files_(std::move(files)) {}

  // Null: plaintext. Throws boost::system::system_error where OpenSSL refuses.
  std::shared_ptr<boost::asio::ssl::context> Current();

 private:
  const std::shared_ptr<access::TlsFiles> files_;  // null: plaintext
  std::shared_ptr<const access::TlsMaterial> material_;  // of context_
  std::shared_ptr<boost::asio::ssl::context> context_;
};

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_TLS_CONTEXT_H_
