#include "server/routing/record.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::routing {
namespace {

using ::testing::ElementsAre;

RowRouting MakeRow(int applied_k, int analyzed_k, float entropy) {
  RowRouting row;
  row.applied.k = static_cast<uint8_t>(applied_k);
  if (analyzed_k > 0) {
    row.analyzed = Decision{static_cast<uint8_t>(analyzed_k), false, true, false, 0.5f};
  }
  row.router_entropy = entropy;
  for (int i = 0; i < kMaxExperts; ++i) {
    row.experts[i] = static_cast<uint8_t>(100 + i);
    row.analyzed_experts[i] = static_cast<uint8_t>(50 + i);
    row.weights[i] = 1.f / static_cast<float>(1 + i);
  }
  return row;
}

TEST(RoutingRecordTest, BothDecisionsOfARowKeepExpertsOfTheirOwn) {
  RoutingRecord record;
  record.Reset(2, 2);
  record.Add(MakeRow(2, 0, 1));
  record.Add(MakeRow(1, 3, 2));
  record.Add(MakeRow(3, 1, 3));
  record.Add(MakeRow(1, 0, 4));
  EXPECT_THAT(record.experts(0, 0), ElementsAre(100, 101));
  EXPECT_THAT(record.analyzed_experts(0, 0), ElementsAre());
  EXPECT_THAT(record.experts(0, 1), ElementsAre(100));
  EXPECT_THAT(record.analyzed_experts(0, 1), ElementsAre(50, 51, 52));
  EXPECT_THAT(record.experts(1, 0), ElementsAre(100, 101, 102));
  EXPECT_THAT(record.analyzed_experts(1, 0), ElementsAre(50));
  EXPECT_THAT(record.experts(1, 1), ElementsAre(100));
  EXPECT_THAT(record.weights(0, 1), ElementsAre(1));
  EXPECT_THAT(record.weights(1, 0), ElementsAre(1, 1.f / 2, 1.f / 3));
  EXPECT_EQ(record.applied(0, 1).k, 1);
  EXPECT_EQ(record.analyzed(0, 1).k, 3);
  EXPECT_TRUE(record.analyzed(0, 1).max_hit);
  EXPECT_EQ(record.analyzed(0, 0).k, 0) << "nothing was analyzed";
  EXPECT_EQ(record.router_entropy(1, 0), 3);
}

TEST(RoutingRecordTest, FailedRowHasNoExperts) {
  RoutingRecord record;
  record.Reset(1, 2);
  record.AddFailed();
  record.Add(MakeRow(2, 0, 1));
  EXPECT_EQ(record.applied(0, 0).k, 0);
  EXPECT_THAT(record.experts(0, 0), ElementsAre());
  EXPECT_THAT(record.weights(0, 0), ElementsAre());
  EXPECT_THAT(record.experts(0, 1), ElementsAre(100, 101));
}

TEST(RoutingRecordTest, ResetLeavesNothingOfTheStepBefore) {
  RoutingRecord record;
  record.Reset(1, 1);
  record.Add(MakeRow(5, 7, 1));
  record.Reset(1, 1);
  record.Add(MakeRow(1, 0, 2));
  EXPECT_THAT(record.experts(0, 0), ElementsAre(100));
  EXPECT_EQ(record.num_layers(), 1);
  EXPECT_EQ(record.num_rows(), 1);
}

TEST(RoutingRecordDeathTest, OneRowTooManyIsAProgrammingError) {
  RoutingRecord record;
  record.Reset(1, 1);
  record.Add(MakeRow(1, 0, 1));
  EXPECT_DEATH(record.Add(MakeRow(1, 0, 1)), "more rows");
}

}  // namespace
}  // namespace olmoe::routing
