// TLS authorities and certificates of a test's own.
#ifndef OLMOE_TESTS_SUPPORT_TEST_CERTIFICATES_H_
#define OLMOE_TESTS_SUPPORT_TEST_CERTIFICATES_H_

#include <memory>
#include <string>

namespace olmoe::testing {

// PEM.
struct TestIdentity {
  std::string certificate;
  std::string key;
};

// Signs certificates for localhost and 127.0.0.1, good for an hour. Immutable.
class TestAuthority {
 public:
  explicit TestAuthority(const std::string& common_name);
  ~TestAuthority();

  const std::string& certificate() const { return self_.certificate; }  // PEM
  TestIdentity Issue(const std::string& common_name) const;

 private:
  struct Issuer;
  std::unique_ptr<Issuer> issuer_;
  TestIdentity self_;
};

}  // namespace olmoe::testing

#endif  // OLMOE_TESTS_SUPPORT_TEST_CERTIFICATES_H_
