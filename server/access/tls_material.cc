#include "server/access/tls_material.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/access/openssl_handles.h"

namespace olmoe::access {
namespace {

// Without it OpenSSL would ask the terminal for the password of an encrypted key.
int NoPassword(char*, int, int, void*) { return -1; }

Certificate NextCertificate(BIO* pem) {
  return Certificate(PEM_read_bio_X509(pem, nullptr, &NoPassword, nullptr));
}

absl::Status Problem(const std::string& what) {
  const unsigned long code = ERR_get_error();  // NOLINT: OpenSSL's type
  const char* reason = ERR_reason_error_string(code);
  ERR_clear_error();
  return absl::InvalidArgumentError(reason == nullptr ? what
                                                      : absl::StrCat(what, " (", reason, ")"));
}

// At least one certificate, and nothing after it that looks like one and is none.
absl::Status CheckCertificates(const std::string& pem, const char* what) {
  const Bio reader = Reader(pem);
  int count = 0;
  while (NextCertificate(reader.get()) != nullptr) ++count;
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (count == 0 || !at_end) {
    return Problem(absl::StrCat(what, " has a bad PEM certificate, or none"));
  }
  ERR_clear_error();
  return absl::OkStatus();
}

absl::Status CheckPair(const TlsMaterial& material) {
  const Certificate certificate = NextCertificate(Reader(material.certificate_chain).get());
  const Key key(
      PEM_read_bio_PrivateKey(Reader(material.private_key).get(), nullptr, &NoPassword, nullptr));
  if (key == nullptr) return Problem("the key is not a PEM private key without a password");
  const Context context(SSL_CTX_new(TLS_server_method()));
  if (SSL_CTX_use_certificate(context.get(), certificate.get()) != 1) {
    return Problem("the certificate cannot be used");
  }
  if (SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1) {
    return Problem("the key does not belong to the certificate");
  }
  return absl::OkStatus();
}

absl::Time TimeOf(const ASN1_TIME* time) {
  tm parts = {};
  ASN1_TIME_to_tm(time, &parts);
  return absl::FromTM(parts, absl::UTCTimeZone());
}

// Empty where it is valid.
std::string DateProblem(const X509& certificate, absl::Time now) {
  const absl::Time begin = TimeOf(X509_get0_notBefore(&certificate));
  const absl::Time end = TimeOf(X509_get0_notAfter(&certificate));
  if (begin <= now && now <= end) return "";
  char name[256];
  X509_NAME_oneline(X509_get_subject_name(&certificate), name, sizeof(name));
  return absl::StrCat(
      "the certificate of ", name, now > end ? " has expired at " : " is not valid before ",
      absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", now > end ? end : begin, absl::UTCTimeZone()));
}

}  // namespace

std::vector<std::string> DateProblems(const std::string& pem, absl::Time now) {
  constexpr size_t kMaxNamed = 3;
  std::vector<std::string> problems;
  size_t unnamed = 0;
  const Bio reader = Reader(pem);
  while (const Certificate certificate = NextCertificate(reader.get())) {
    std::string problem = DateProblem(*certificate, now);
    if (problem.empty()) continue;
    if (problems.size() < kMaxNamed) {
      problems.push_back(std::move(problem));
    } else {
      ++unnamed;
    }
  }
  ERR_clear_error();
  if (unnamed > 0) problems.push_back(absl::StrCat(unnamed, " more certificates are not valid"));
  return problems;
}

absl::Status CheckTls(const TlsMaterial& material) {
  ERR_clear_error();
  absl::Status status = CheckCertificates(material.certificate_chain, "the certificate file");
  if (status.ok()) status = CheckPair(material);
  if (!status.ok() || material.client_ca.empty()) return status;
  return CheckCertificates(material.client_ca, "the client CA file");
}

}  // namespace olmoe::access
