// TLS authorities and certificates of a test's own.
#ifndef OLMOE_TESTS_SUPPORT_TEST_CERTIFICATES_H_
#define OLMOE_TESTS_SUPPORT_TEST_CERTIFICATES_H_

#include <memory>
#include <string>

#include "absl/time/time.h"

namespace olmoe::testing {

// PEM.
struct TestIdentity {
  std::string certificate;
  std::string key;
};

// Signs certificates for localhost and 127.0.0.1, by default good for an hour. Immutable.
class TestAuthority {
 public:
  explicit TestAuthority(const std::string& common_name);
  ~TestAuthority();

  const std::string& certificate() const { return self_.certificate; }  // PEM
  // Valid from and until so long from now.
  TestIdentity Issue(const std::string& common_name, absl::Duration from = -absl::Hours(1),
                     absl::Duration until = absl::Hours(1)) const;

 private:
  struct Issuer;
  std::unique_ptr<Issuer> issuer_;
  TestIdentity self_;
};

}  // namespace olmoe::testing

#endif  // OLMOE_TESTS_SUPPORT_TEST_CERTIFICATES_H_
