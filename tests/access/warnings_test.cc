#include "server/access/warnings.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::access {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kHere[] = "127.0.0.1";
constexpr char kEverywhere[] = "0.0.0.0";

TEST(WarningsTest, LoopbackIsWhatOnlyThisMachineReaches) {
  for (const char* host : {"localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1", "[::1]",
                           "unix:/run/olmoe.sock"}) {
    EXPECT_TRUE(IsLoopback(host)) << host;
  }
  for (const char* host : {"", "0.0.0.0", "::", "[::]", "128.0.0.1", "10.0.0.1", "127.0.0.1.x",
                           "localhost.example", "1270.0.0.1", "[::1"}) {
    EXPECT_FALSE(IsLoopback(host)) << host;
  }
}

TEST(WarningsTest, TheDefaultsAreQuiet) {
  EXPECT_THAT(AccessWarnings({}, {kHere}, {"localhost"}), IsEmpty());
}

TEST(WarningsTest, PlaintextBeyondLoopbackIsWarnedOf) {
  EXPECT_THAT(AccessWarnings({}, {kEverywhere}, {kHere}),
              ElementsAre(HasSubstr("--listen 0.0.0.0")));
  EXPECT_THAT(AccessWarnings({.admin_token_file = "t"}, {kHere}, {kEverywhere}),
              ElementsAre(HasSubstr("--admin-listen 0.0.0.0")));
  EXPECT_THAT(AccessWarnings({.tls_cert = "c", .tls_key = "k"}, {kEverywhere}, {kHere}), IsEmpty());
}

TEST(WarningsTest, OneAddressOfSeveralBeyondLoopbackIsEnough) {
  EXPECT_THAT(AccessWarnings({}, {"127.0.0.1", "unix:/a", "0.0.0.0"}, {kHere}),
              ElementsAre(HasSubstr("--listen 0.0.0.0")));
  EXPECT_THAT(EdgeWarnings("1.51.1", {kHere, "unix:/a"}, {kHere, "0.0.0.0"}),
              ElementsAre(HasSubstr("--admin-listen 0.0.0.0")));
}

TEST(WarningsTest, AnAdminPortThatAsksForNothingIsWarnedOf) {
  EXPECT_THAT(AccessWarnings({.tls_cert = "c", .tls_key = "k"}, {kEverywhere}, {kEverywhere}),
              ElementsAre(HasSubstr("everybody who reaches the admin port")));
  EXPECT_THAT(AccessWarnings({.token_file = "t"}, {kHere}, {kHere}),
              ElementsAre(HasSubstr("everybody who reaches the admin port")));
  EXPECT_THAT(AccessWarnings({.token_file = "t", .admin_token_file = "a"}, {kHere}, {kHere}),
              IsEmpty());
}

TEST(WarningsTest, OneAuthorityForUsersAndAdminsIsWarnedOf) {
  EXPECT_THAT(AccessWarnings({.tls_cert = "c", .tls_key = "k", .tls_client_ca = "ca"},
                             {kEverywhere}, {kEverywhere}),
              ElementsAre(HasSubstr("every client certificate")));
  EXPECT_THAT(
      AccessWarnings(
          {.tls_cert = "c", .tls_key = "k", .tls_client_ca = "ca", .admin_tls_client_ca = "other"},
          {kEverywhere}, {kEverywhere}),
      IsEmpty());
  EXPECT_THAT(AccessWarnings(
                  {.tls_cert = "c", .tls_key = "k", .tls_client_ca = "ca", .admin_token_file = "t"},
                  {kEverywhere}, {kEverywhere}),
              IsEmpty());
}

TEST(WarningsTest, AGrpcWithoutBoundsBeyondLoopbackIsWarnedOf) {
  for (const char* version : {"1.51.1", "1.59.5", "0.70.0", "", "new"}) {
    EXPECT_THAT(EdgeWarnings(version, {kEverywhere}, {kEverywhere}),
                ElementsAre(HasSubstr("--behind-proxy")))
        << version;
    EXPECT_THAT(EdgeWarnings(version, {kHere}, {"unix:/run/olmoe.sock"}), IsEmpty());
  }
  EXPECT_THAT(EdgeWarnings("1.51.1", {kHere}, {kEverywhere}),
              ElementsAre(HasSubstr("--admin-listen 0.0.0.0")));
  for (const char* version : {"1.60.0", "1.70.1-dev", "2.0.0"}) {
    EXPECT_THAT(EdgeWarnings(version, {kEverywhere}, {kEverywhere}), IsEmpty()) << version;
  }
}

}  // namespace
}  // namespace olmoe::access
