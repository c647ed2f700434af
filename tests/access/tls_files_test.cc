#include "server/access/tls_files.h"

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/log_capture.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_certificates.h"

namespace olmoe::access {
namespace {

using ::olmoe::testing::LogCapture;
using ::olmoe::testing::TempFolder;
using ::olmoe::testing::TestAuthority;
using ::olmoe::testing::TestIdentity;
using ::testing::HasSubstr;
using ::testing::Not;

class TlsFilesTest : public ::testing::Test {
 protected:
  void Write(const TestIdentity& identity) {
    folder_.Write("cert", identity.certificate);
    folder_.Write("key", identity.key);
  }
  absl::StatusOr<std::unique_ptr<TlsFiles>> Open(const std::string& client_ca = "") {
    return TlsFiles::Open(
        {.cert = folder_.File("cert"), .key = folder_.File("key"), .client_ca = client_ca});
  }

  TempFolder folder_;
  const TestAuthority authority_{"authority"};
  const TestIdentity one_ = authority_.Issue("one");
  const TestIdentity two_ = authority_.Issue("two");
};

TEST_F(TlsFilesTest, ReadsWhatTheFilesHold) {
  Write(one_);
  const auto files = Open(folder_.Write("ca", authority_.certificate()));
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_TRUE((*files)->asks_for_client_certificates());
  const auto material = (*files)->Current();
  EXPECT_EQ(material->certificate_chain, one_.certificate);
  EXPECT_EQ(material->private_key, one_.key);
  EXPECT_EQ(material->client_ca, authority_.certificate());
  EXPECT_EQ((*files)->Current(), material);
}

TEST_F(TlsFilesTest, ACertificateAheadOfItsKeyWaitsForIt) {
  Write(one_);
  const auto files = Open();
  ASSERT_TRUE(files.ok()) << files.status();
  LogCapture log;
  folder_.Write("cert", two_.certificate);
  for (int i = 0; i < 3; ++i) EXPECT_EQ((*files)->Current()->certificate_chain, one_.certificate);
  EXPECT_EQ(log.CountOf("TLS goes on as before"), 1);
  folder_.Write("key", two_.key);
  EXPECT_EQ((*files)->Current()->certificate_chain, two_.certificate);
  EXPECT_EQ((*files)->Current()->private_key, two_.key);
  EXPECT_EQ(log.CountOf("new connections get"), 1);
}

TEST_F(TlsFilesTest, BadFilesChangeNothing) {
  Write(one_);
  const std::string ca = folder_.Write("ca", authority_.certificate());
  const auto files = Open(ca);
  ASSERT_TRUE(files.ok()) << files.status();
  for (const char* name : {"cert", "key", "ca"}) {
    for (const char* content : {"", "no PEM", "-----BEGIN CERTIFICATE-----\nxx\n"}) {
      folder_.Write(name, content);
      EXPECT_EQ((*files)->Current()->certificate_chain, one_.certificate) << name;
      EXPECT_EQ((*files)->Current()->client_ca, authority_.certificate()) << name;
    }
    Write(one_);
    folder_.Write("ca", authority_.certificate());
  }
}

TEST_F(TlsFilesTest, CertificatesOutsideTheirDatesAreToldAtTheStartAndAtTheReload) {
  Write(one_);
  const std::string ca = folder_.Write("ca", authority_.certificate());
  LogCapture log;
  const auto files = Open(ca);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(log.CountOf("connections fail"), 0);
  Write(authority_.Issue("old", -absl::Hours(3), -absl::Hours(1)));
  (*files)->Current();
  EXPECT_EQ(log.CountOf(folder_.File("cert") + ": the certificate of /CN=old has expired at 20"),
            1);
  Write(authority_.Issue("early", absl::Hours(1), absl::Hours(3)));
  (*files)->Current();
  (*files)->Current();
  EXPECT_EQ(log.CountOf("the certificate of /CN=early is not valid before 20"), 1);
  EXPECT_EQ(log.CountOf("connections fail"), 2);
  EXPECT_TRUE(Open(ca).ok()) << "a warning, no error";
  EXPECT_EQ(log.CountOf("/CN=early is not valid before"), 2);
}

TEST_F(TlsFilesTest, OfManyAuthoritiesOutsideTheirDatesAFewAreNamed) {
  std::string bundle = authority_.certificate();
  for (int i = 0; i < 5; ++i) {
    bundle += authority_.Issue("old", -absl::Hours(3), -absl::Hours(1)).certificate;
  }
  Write(one_);
  LogCapture log;
  ASSERT_TRUE(Open(folder_.Write("ca", bundle)).ok());
  EXPECT_EQ(log.CountOf(folder_.File("ca") + ": the certificate of /CN=old has expired"), 3);
  EXPECT_EQ(log.CountOf("2 more certificates are not valid"), 1);
}

TEST_F(TlsFilesTest, ProblemsAtTheStartNameTheFilesAndHoldNoKey) {
  const auto problem = [this](const std::string& client_ca = "") {
    const auto files = Open(client_ca);
    EXPECT_FALSE(files.ok());
    EXPECT_THAT(std::string(files.status().message()), Not(HasSubstr("BEGIN")));
    return std::string(files.status().message());
  };
  EXPECT_THAT(problem(), HasSubstr(folder_.File("cert")));
  Write({.certificate = one_.certificate, .key = two_.key});
  EXPECT_THAT(problem(), HasSubstr("does not belong"));
  Write({.certificate = one_.key, .key = one_.key});
  EXPECT_THAT(problem(), HasSubstr("certificate file"));
  Write({.certificate = one_.certificate, .key = one_.certificate});
  EXPECT_THAT(problem(), HasSubstr("private key"));
  Write({.certificate = one_.certificate + "-----BEGIN CERTIFICATE-----\nbad", .key = one_.key});
  EXPECT_THAT(problem(), HasSubstr("certificate file"));
  Write(one_);
  EXPECT_THAT(problem(folder_.Write("ca", "")), HasSubstr(folder_.File("ca")));
  EXPECT_THAT(problem(folder_.Write("ca", "x")), HasSubstr("client CA"));
  EXPECT_TRUE(Open().ok());
}

}  // namespace
}  // namespace olmoe::access
