#include "server/routing/split.h"

#include "gtest/gtest.h"
#include "tests/routing/vector_cases.h"
#include "tests/support/test_data.h"

namespace olmoe::routing {
namespace {

using nlohmann::json;

void RunCase(const json& line) {
  SCOPED_TRACE("id " + line.at("id").dump());
  std::vector<uint32_t> weights;
  for (const json& arm : line.at("arms")) weights.push_back(arm.at("weight"));
  const json& expected = line.at("expected");
  const std::optional<uint32_t> total = TotalWeight(weights);
  ASSERT_EQ(total.has_value(), !expected.contains("invalid"));
  if (!total) return;

  const std::string salt = line.at("salt"), unit_id = line.at("unit_id");
  const uint32_t hash = UnitHash(salt, unit_id);
  EXPECT_EQ(hash, expected.at("hash").get<uint32_t>());
  const uint32_t bucket = BucketOf(hash, *total);
  EXPECT_EQ(bucket, expected.at("bucket").get<uint32_t>());
  EXPECT_EQ(line.at("arms").at(ArmOfBucket(weights, bucket)).at("id"), expected.at("arm"));
}

size_t RunCases(const std::string& path) {
  const std::vector<json> lines = ReadJsonLines(path);
  for (const json& line : lines) RunCase(line);
  return lines.size();
}

TEST(SplitTest, AgreesWithTheOracle) {
  EXPECT_EQ(RunCases(testing::SourcePath("tests/data/routing/split_vectors.jsonl")), 300u);
}

TEST(SplitTest, NulIsAByteLikeAnyOther) {
  using namespace std::string_view_literals;
  EXPECT_NE(UnitHash("", "a"), UnitHash("", "a\0"sv));
  EXPECT_NE(UnitHash("", "a\0b"sv), UnitHash("", "a\0c"sv));
  EXPECT_EQ(UnitHash("ab", "c"), UnitHash("a", "bc")) << "no separator";
}

TEST(SplitTest, BucketsOfAllHashesAreBelowTheTotal) {
  EXPECT_EQ(BucketOf(0, 1), 0u);
  EXPECT_EQ(BucketOf(UINT32_MAX, 1), 0u);
  EXPECT_EQ(BucketOf(UINT32_MAX, UINT32_MAX), UINT32_MAX - 1);
  EXPECT_EQ(BucketOf(UINT32_MAX, 100), 99u);
}

TEST(SplitTest, ArmOfWeightZeroGetsNoUnit) {
  const std::vector<uint32_t> weights = {0, 1, 0, 2, 0};
  EXPECT_EQ(ArmOfBucket(weights, 0), 1u);
  EXPECT_EQ(ArmOfBucket(weights, 1), 3u);
  EXPECT_EQ(ArmOfBucket(weights, 2), 3u);
}

}  // namespace
}  // namespace olmoe::routing
