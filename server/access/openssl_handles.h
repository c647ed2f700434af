// Owners of OpenSSL's objects.
#ifndef OLMOE_SERVER_ACCESS_OPENSSL_HANDLES_H_
#define OLMOE_SERVER_ACCESS_OPENSSL_HANDLES_H_

#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

namespace olmoe::access {

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Freed<&BIO_free>>;
using Certificate = std::unique_ptr<X509, Freed<&X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<&EVP_PKEY_free>>;
using Context = std::unique_ptr<SSL_CTX, Freed<&SSL_CTX_free>>;

// Reads `pem`, which must outlive it.
inline Bio Reader(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

}  // namespace olmoe::access

#endif  // OLMOE_SERVER_ACCESS_OPENSSL_HANDLES_H_
