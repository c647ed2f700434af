#include "server/engine/trace.h"

#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int kLayers = 2;
constexpr int kRows = 3;
constexpr int kExperts = 4;

// Layer l, row r runs k = 1 + (l + r) % 3 experts: 10 * l + r, then one more each; weights are ids
// / 2.
routing::RoutingRecord MakeRecord() {
  routing::RoutingRecord record;
  record.Reset(kLayers, kRows);
  for (int layer = 0; layer < kLayers; ++layer) {
    for (int row = 0; row < kRows; ++row) {
      routing::RowRouting routed{};
      routed.applied.k = static_cast<uint8_t>(1 + (layer + row) % 3);
      routed.analyzed = routing::Decision{.k = 4};  // order is longer than what ran
      std::iota(routed.experts.begin(), routed.experts.begin() + 4, 10 * layer + row);
      for (int i = 0; i < routed.applied.k; ++i) routed.weights[i] = routed.experts[i] / 2.0f;
      record.Add(routed);
    }
  }
  return record;
}

TEST(TraceTest, IsPositionMajorAndRagged) {
  const RoutingTrace trace =
      TraceRows({.experts = true, .weights = true},
                {.first_position = 7, .first_row = 1, .num_rows = 2}, MakeRecord(), {});
  EXPECT_EQ(trace.first_position, 7);
  EXPECT_EQ(trace.num_positions, 2);
  EXPECT_EQ(trace.num_layers, kLayers);
  // Row 1: layer 0, layer 1; row 2: layer 0, layer 1.
  EXPECT_THAT(trace.counts, ElementsAre(2, 3, 3, 1));
  EXPECT_THAT(trace.experts, ElementsAre(1, 2, 11, 12, 13, 2, 3, 4, 12));
  EXPECT_THAT(trace.weights, ElementsAre(0.5, 1, 5.5, 6, 6.5, 1, 1.5, 2, 6));
  EXPECT_THAT(trace.logits, IsEmpty());
}

TEST(TraceTest, LogitsAreTransposedFromLayerMajor) {
  std::vector<float> logits(kLayers * kRows * kExperts);  // 100 * layer + 10 * row + expert
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>(100 * (i / 12) + 10 * (i / 4 % 3) + i % 4);
  }
  const RoutingTrace trace = TraceRows({.logits = true}, {.num_rows = kRows}, MakeRecord(), logits);
  EXPECT_THAT(trace.logits, ElementsAre(0, 1, 2, 3, 100, 101, 102, 103,      //
                                        10, 11, 12, 13, 110, 111, 112, 113,  //
                                        20, 21, 22, 23, 120, 121, 122, 123));
  EXPECT_THAT(trace.counts, IsEmpty());
}

TEST(TraceTest, NothingAskedForIsNothing) {
  EXPECT_EQ(TraceRows({}, {.num_rows = kRows}, MakeRecord(), {}).num_positions, 0);
}

TEST(TraceTest, WeightsComeWithTheirCounts) {
  const RoutingTrace trace = TraceRows({.weights = true}, {.num_rows = 1}, MakeRecord(), {});
  EXPECT_THAT(trace.counts, ElementsAre(1, 2));
  EXPECT_THAT(trace.experts, IsEmpty());
  EXPECT_THAT(trace.weights, ElementsAre(0, 5, 5.5));
}

TEST(TraceTest, ActivationsAreTheSumOfAppliedCounts) {
  EXPECT_EQ(ExpertActivations({.first_row = 1, .num_rows = 2}, MakeRecord()), 2u + 3 + 3 + 1);
}

TEST(TraceTest, AppendingGivesTheTraceOfBothParts) {
  const routing::RoutingRecord record = MakeRecord();
  const TraceOptions options = {.experts = true, .weights = true};
  RoutingTrace parts;
  for (int row = 0; row < kRows; ++row) {
    parts.Append(TraceRows(options, {.first_position = 5 + row, .first_row = row, .num_rows = 1},
                           record, {}));
  }
  const RoutingTrace whole =
      TraceRows(options, {.first_position = 5, .first_row = 0, .num_rows = kRows}, record, {});
  EXPECT_EQ(parts.first_position, whole.first_position);
  EXPECT_EQ(parts.num_positions, whole.num_positions);
  EXPECT_EQ(parts.counts, whole.counts);
  EXPECT_EQ(parts.experts, whole.experts);
  EXPECT_EQ(parts.weights, whole.weights);
}

TEST(TraceDeathTest, AppendingAPartThatDoesNotFollowDies) {
  const routing::RoutingRecord record = MakeRecord();
  const TraceOptions options = {.experts = true};
  RoutingTrace trace = TraceRows(options, {.first_position = 0, .num_rows = 2}, record, {});
  const RoutingTrace gap = TraceRows(options, {.first_position = 3, .num_rows = 1}, record, {});
  EXPECT_DEATH(trace.Append(gap), "");
}

}  // namespace
}  // namespace olmoe::engine
