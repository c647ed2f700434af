#include "server/http/tls_context.h"

#include <boost/asio/buffer.hpp>

namespace olmoe::http {
namespace {

using boost::asio::buffer;
using boost::asio::ssl::context;

std::shared_ptr<context> MakeContext(const access::TlsMaterial& material) {
  auto made = std::make_shared<context>(context::tls_server);
  made->set_options(context::no_sslv2 | context::no_sslv3 | context::no_tlsv1 |
                    context::no_tlsv1_1 | context::no_compression);
  // A client could make the server work for ever; and idle connections keep no buffers.
  SSL_CTX_set_options(made->native_handle(), SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(made->native_handle(), SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(made->native_handle(), SSL_SESS_CACHE_OFF);
  made->use_certificate_chain(buffer(material.certificate_chain));
  made->use_private_key(buffer(material.private_key), context::pem);
  if (!material.client_ca.empty()) {
    made->add_certificate_authority(buffer(material.client_ca));
    made->set_verify_mode(boost::asio::ssl::verify_peer |
                          boost::asio::ssl::verify_fail_if_no_peer_cert);
  }
  return made;
}

}  // namespace

std::shared_ptr<context> TlsContext::Current() {
  if (files_ == nullptr) return nullptr;
  std::shared_ptr<const access::TlsMaterial> material = files_->Current();
  if (material != material_) {
    context_ = MakeContext(*material);
    material_ = std::move(material);
  }
  return context_;
}

}  // namespace olmoe::http
