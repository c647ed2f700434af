#include "server/api/plan_file.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_folder.h"

namespace olmoe::api {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(PlanFileTest, IsAPlanInJson) {
  testing::TempFolder folder;
  const std::string path = folder.Write("plan.json", R"({
    "salt": "exp1", "note": "less is more",
    "arms": [{"armId": "default", "weight": 1, "policy": {"policyId": "half",
              "apply": {"topK": {"k": 4}, "weightMode": "WEIGHT_MODE_NATIVE"}}}]})");
  const auto file = ReadPlanFile(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->spec.salt, "exp1");
  ASSERT_EQ(file->spec.arms.size(), 1u);
  EXPECT_EQ(std::get<routing::TopK>(file->spec.arms[0].policy.apply->kind).k, 4u);
  EXPECT_EQ(file->digest.size(), 64u);
}

TEST(PlanFileTest, TheDigestIsOfTheBytes) {
  testing::TempFolder folder;
  const std::string a = folder.Write("a", "{}"), b = folder.Write("b", "{ }");
  EXPECT_EQ(ReadPlanFile(a)->digest, ReadPlanFile(a)->digest);
  EXPECT_NE(ReadPlanFile(a)->digest, ReadPlanFile(b)->digest);
}

TEST(PlanFileTest, ABadFileIsOneLineThatNamesIt) {
  testing::TempFolder folder;
  const struct {
    std::string path;
    const char* said;
  } cases[] = {
      {folder.File("none"), "No such file"},
      {folder.path(), ""},
      {folder.Write("empty", ""), "RoutingPlan"},
      {folder.Write("torn", R"({"arms": [)"), "RoutingPlan"},
      {folder.Write("unknown", R"({"armz": []})"), "armz"},
      {folder.Write("type", R"({"salt": {}})"), "salt"},
      {folder.Write("kind", R"({"arms": [{"policy": {"apply": {"weightMode": 77}}}]})"),
       "plan.arms[0].policy.apply.weight_mode"},
      {folder.Write("large", std::string((1 << 20) + 1, ' ')), "1 MiB"},
  };
  for (const auto& test : cases) {
    const absl::Status status = ReadPlanFile(test.path).status();
    ASSERT_FALSE(status.ok()) << test.path;
    const std::string message(status.message());
    EXPECT_THAT(message, StartsWith(test.path + ": "));
    EXPECT_THAT(message, HasSubstr(test.said));
    EXPECT_THAT(message, Not(HasSubstr("\n")));
  }
}

}  // namespace
}  // namespace olmoe::api
