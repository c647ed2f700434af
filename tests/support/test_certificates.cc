#include "tests/support/test_certificates.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <atomic>

#include "glog/logging.h"

namespace olmoe::testing {
namespace {

template <class Write>
std::string ToPem(const Write& write) {
  BIO* bio = BIO_new(BIO_s_mem());
  CHECK_EQ(write(bio), 1);
  char* data = nullptr;
  const long bytes = BIO_get_mem_data(bio, &data);  // NOLINT: OpenSSL's type
  std::string pem(data, static_cast<size_t>(bytes));
  BIO_free(bio);
  return pem;
}

void AddExtension(X509* certificate, int nid, const char* value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value);
  CHECK(extension != nullptr) << value;
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// Unsigned.
X509* NewCertificate(const std::string& common_name, EVP_PKEY* key, absl::Duration from,
                     absl::Duration until) {
  static std::atomic<int64_t> serial = 1;
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set_int64(X509_get_serialNumber(certificate), serial++);
  X509_gmtime_adj(X509_getm_notBefore(certificate), absl::ToInt64Seconds(from));
  X509_gmtime_adj(X509_getm_notAfter(certificate), absl::ToInt64Seconds(until));
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1,
                             0);
  X509_set_pubkey(certificate, key);
  return certificate;
}

TestIdentity ToPems(X509* certificate, EVP_PKEY* key) {
  return {.certificate = ToPem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); }),
          .key = ToPem([&](BIO* bio) {
            return PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
          })};
}

}  // namespace

struct TestAuthority::Issuer {
  ~Issuer() {
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
  EVP_PKEY* key = nullptr;
  X509* certificate = nullptr;
};

TestAuthority::TestAuthority(const std::string& common_name) : issuer_(std::make_unique<Issuer>()) {
  issuer_->key = EVP_EC_gen("P-256");
  CHECK(issuer_->key != nullptr);
  issuer_->certificate = NewCertificate(common_name, issuer_->key, -absl::Hours(1), absl::Hours(1));
  X509_set_issuer_name(issuer_->certificate, X509_get_subject_name(issuer_->certificate));
  AddExtension(issuer_->certificate, NID_basic_constraints, "critical,CA:TRUE");
  CHECK_GT(X509_sign(issuer_->certificate, issuer_->key, EVP_sha256()), 0);
  self_ = ToPems(issuer_->certificate, issuer_->key);
}

TestAuthority::~TestAuthority() = default;

TestIdentity TestAuthority::Issue(const std::string& common_name, absl::Duration from,
                                  absl::Duration until) const {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = NewCertificate(common_name, key, from, until);
  X509_set_issuer_name(certificate, X509_get_subject_name(issuer_->certificate));
  AddExtension(certificate, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
  CHECK_GT(X509_sign(certificate, issuer_->key, EVP_sha256()), 0);
  TestIdentity identity = ToPems(certificate, key);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return identity;
}

}  // namespace olmoe::testing
