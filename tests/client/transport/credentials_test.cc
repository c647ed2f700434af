#include "client/transport/credentials.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_folder.h"

namespace olmoe::client::transport {
namespace {

using ::olmoe::testing::TempFolder;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kToken[] = "secret-0123456789";

class CredentialsTest : public ::testing::Test {
 protected:
  std::string TokenOf(const std::string& content) {
    CredentialFiles files;
    files.token_file = folder_.Write("tokens", content);
    const auto credentials = ReadCredentials(files);
    return credentials.ok() ? credentials->token : std::string(credentials.status().message());
  }

  TempFolder folder_;
};

TEST_F(CredentialsTest, NoFlagsIsPlaintextWithoutAToken) {
  const auto credentials = ReadCredentials({});
  ASSERT_TRUE(credentials.ok()) << credentials.status();
  EXPECT_FALSE(credentials->tls);
  EXPECT_EQ(credentials->token, "");
}

TEST_F(CredentialsTest, TheFirstTokenOfAServersFileIsSent) {
  EXPECT_EQ(TokenOf("secret-0123456789"), kToken);
  EXPECT_EQ(TokenOf("# ours\n\n  alice:secret-0123456789 \r\nbob:another-secret\n"), kToken);
}

TEST_F(CredentialsTest, AFileWithoutATokenIsToldByNameOnly) {
  for (const char* content : {"\n", "# comment\n", "alice:\n", "two words\n", "a\x01z\n"}) {
    EXPECT_THAT(TokenOf(content), HasSubstr("--token-file")) << content;
    EXPECT_THAT(TokenOf(content), HasSubstr(folder_.File("tokens")));
    EXPECT_THAT(TokenOf(content), Not(HasSubstr("two")));
  }
}

TEST_F(CredentialsTest, AnAuthorityOrACertificateMeansTls) {
  CredentialFiles files;
  files.ca = folder_.Write("ca", "CA");
  auto credentials = ReadCredentials(files);
  ASSERT_TRUE(credentials.ok()) << credentials.status();
  EXPECT_TRUE(credentials->tls);
  EXPECT_EQ(credentials->ca, "CA");
  files = {};
  files.cert = folder_.Write("cert", "CERT");
  files.key = folder_.Write("key", "KEY");
  credentials = ReadCredentials(files);
  ASSERT_TRUE(credentials.ok()) << credentials.status();
  EXPECT_TRUE(credentials->tls);
  EXPECT_EQ(credentials->certificate, "CERT");
  EXPECT_EQ(credentials->key, "KEY");
}

TEST_F(CredentialsTest, ProblemsNameTheFlagAndTheFile) {
  CredentialFiles files;
  files.ca = folder_.File("absent");
  EXPECT_THAT(std::string(ReadCredentials(files).status().message()),
              HasSubstr("--ca " + files.ca + ": No such file"));
  files.ca = folder_.Write("empty", "");
  EXPECT_THAT(std::string(ReadCredentials(files).status().message()),
              HasSubstr("--ca " + files.ca));
  files = {};
  files.key = folder_.Write("key", "KEY");
  EXPECT_THAT(std::string(ReadCredentials(files).status().message()),
              HasSubstr("--cert and --key"));
}

}  // namespace
}  // namespace olmoe::client::transport
