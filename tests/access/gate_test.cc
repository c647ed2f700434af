#include "server/access/gate.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/access/access.h"
#include "tests/support/temp_folder.h"

namespace olmoe::access {
namespace {

using ::olmoe::testing::TempFolder;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kMethod[] = "/olmoe.v1.RoutingAdminService/PatchRouters";
const std::string kUser = "user-secret-0123456789";
const std::string kAdmin = "admin-secret-0123456789";

std::string Bearer(const std::string& token) { return absl::StrCat("Bearer ", token); }

class GateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto access =
        OpenAccess({.token_file = folder_.Write("users", absl::StrCat("u:", kUser)),
                    .admin_token_file = folder_.Write("admins", absl::StrCat("a:", kAdmin))});
    ASSERT_TRUE(access.ok()) << access.status();
    access_ = *access;
  }
  static absl::StatusCode Code(const PortAccess& port, const std::string& field) {
    return port.gate->Check(kMethod, {field}).code();
  }

  TempFolder folder_;
  Access access_;
};

TEST_F(GateTest, AnAdminTokenOpensBothPortsAndAUsersOnlyOne) {
  EXPECT_EQ(Code(access_.inference, Bearer(kUser)), absl::StatusCode::kOk);
  EXPECT_EQ(Code(access_.inference, Bearer(kAdmin)), absl::StatusCode::kOk);
  EXPECT_EQ(Code(access_.admin, Bearer(kAdmin)), absl::StatusCode::kOk);
  EXPECT_EQ(Code(access_.admin, Bearer(kUser)), absl::StatusCode::kPermissionDenied);
}

TEST_F(GateTest, TheSchemeIsBearerInAnyCase) {
  EXPECT_EQ(Code(access_.admin, absl::StrCat("bearer ", kAdmin)), absl::StatusCode::kOk);
  EXPECT_EQ(Code(access_.admin, absl::StrCat("BEARER  ", kAdmin)), absl::StatusCode::kOk);
  for (const std::string& field :
       {kAdmin, absl::StrCat("Basic ", kAdmin), absl::StrCat("Bearer", kAdmin),
        std::string("Bearer "), std::string(), absl::StrCat("Bearer a:", kAdmin),
        absl::StrCat("Bearer ", kAdmin, " ", kAdmin)}) {
    EXPECT_EQ(Code(access_.admin, field), absl::StatusCode::kUnauthenticated) << field;
  }
}

TEST_F(GateTest, NoFieldOrTwoAreRefused) {
  const std::string good = Bearer(kAdmin);
  EXPECT_TRUE(absl::IsUnauthenticated(access_.admin.gate->Check(kMethod, {})));
  EXPECT_TRUE(absl::IsUnauthenticated(access_.admin.gate->Check(kMethod, {good, good})));
}

TEST_F(GateTest, HealthCheckingAloneNeedsNoToken) {
  EXPECT_TRUE(access_.admin.gate->Check("/grpc.health.v1.Health/Check", {}).ok());
  EXPECT_TRUE(access_.admin.gate->Check("/grpc.health.v1.Health/Watch", {}).ok());
  for (const char* method :
       {"", "/", "/grpc.health.v1.Healthy/Check", "grpc.health.v1.Health/Check",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", kMethod}) {
    EXPECT_FALSE(access_.admin.gate->Check(method, {}).ok()) << method;
  }
}

TEST_F(GateTest, MessagesDoNotHoldTheToken) {
  for (const std::string& token : {kUser, std::string("stranger-0123456789")}) {
    const absl::Status status = access_.admin.gate->Check(kMethod, {Bearer(token)});
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr(token)));
    EXPECT_THAT(std::string(status.message()), HasSubstr("admin port"));
  }
}

TEST_F(GateTest, NamesTheOwnerOfAToken) {
  EXPECT_EQ(access_.admin.gate->TokenName({Bearer(kAdmin)}), "a");
  EXPECT_EQ(access_.inference.gate->TokenName({Bearer(kUser)}), "u");
  EXPECT_EQ(access_.admin.gate->TokenName({Bearer(kUser)}), "");
  EXPECT_EQ(access_.admin.gate->TokenName({}), "");
}

TEST(OpenAccessTest, NoFilesIsNoGateAndNoTls) {
  const auto access = OpenAccess({});
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->inference.gate, nullptr);
  EXPECT_EQ(access->admin.gate, nullptr);
  EXPECT_EQ(access->inference.tls, nullptr);
  EXPECT_EQ(access->admin.tls, nullptr);
}

TEST(OpenAccessTest, AnAdminTokenAloneLeavesThePublicPortOpen) {
  TempFolder folder;
  const auto access = OpenAccess({.admin_token_file = folder.Write("admins", kAdmin)});
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->inference.gate, nullptr);
  EXPECT_NE(access->admin.gate, nullptr);
}

}  // namespace
}  // namespace olmoe::access
