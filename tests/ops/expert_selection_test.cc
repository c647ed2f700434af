#include "server/ops/expert_selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace olmoe::ops {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

routing::RowRouting Row(std::vector<uint8_t> experts, std::vector<float> weights) {
  routing::RowRouting row;
  row.applied.k = static_cast<uint8_t>(experts.size());
  std::copy(experts.begin(), experts.end(), row.experts.begin());
  std::copy(weights.begin(), weights.end(), row.weights.begin());
  return row;
}

TEST(ExpertSelection, NumbersSlotsByExpertThenRow) {
  routing::RoutingRecord record;
  record.Reset(1, 3);
  record.Add(Row({2, 0}, {0.5f, 0.25f}));
  record.Add(Row({3}, {0.75f}));
  record.Add(Row({0, 2, 3}, {0.4f, 0.3f, 0.2f}));
  ExpertSelection selection;
  selection.Build(record, 0, 4);
  EXPECT_EQ(selection.num_rows(), 3);
  EXPECT_EQ(selection.num_experts(), 4);
  EXPECT_EQ(selection.num_slots(), 6);
  EXPECT_EQ(selection.max_ranks(), 3);
  EXPECT_THAT(selection.slot_begin(), ElementsAre(0, 2, 2, 4, 6));
  EXPECT_THAT(selection.row_of_slot(), ElementsAre(0, 2, 0, 2, 1, 2));
  EXPECT_THAT(selection.slots_of_row(0), ElementsAre(2, 0));
  EXPECT_THAT(selection.slots_of_row(1), ElementsAre(4));
  EXPECT_THAT(selection.slots_of_row(2), ElementsAre(1, 3, 5));
  EXPECT_THAT(selection.weights_of_row(2), ElementsAre(0.4f, 0.3f, 0.2f));
}

TEST(ExpertSelection, FailedRowsHaveNoSlots) {
  routing::RoutingRecord record;
  record.Reset(1, 3);
  record.AddFailed();
  record.Add(Row({1}, {1.0f}));
  record.AddFailed();
  ExpertSelection selection;
  selection.Build(record, 0, 2);
  EXPECT_EQ(selection.num_slots(), 1);
  EXPECT_THAT(selection.slots_of_row(0), IsEmpty());
  EXPECT_THAT(selection.slots_of_row(1), ElementsAre(0));
  EXPECT_THAT(selection.slots_of_row(2), IsEmpty());
}

TEST(ExpertSelection, AnalyzedExpertsDoNotRun) {
  routing::RoutingRecord record;
  record.Reset(1, 1);
  routing::RowRouting row = Row({1}, {0.5f});
  row.analyzed = routing::Decision{.k = 3};
  row.analyzed_experts = {1, 0, 2};
  record.Add(row);
  ExpertSelection selection;
  selection.Build(record, 0, 3);
  EXPECT_EQ(selection.num_slots(), 1);
  EXPECT_THAT(selection.slot_begin(), ElementsAre(0, 0, 1, 1));
}

TEST(ExpertSelection, BuildForgetsTheLayerBefore) {
  routing::RoutingRecord record;
  record.Reset(2, 1);
  record.Add(Row({0, 1, 2}, {1, 1, 1}));
  record.Add(Row({2}, {0.5f}));
  ExpertSelection selection;
  selection.Build(record, 0, 3);
  selection.Build(record, 1, 3);
  EXPECT_EQ(selection.num_slots(), 1);
  EXPECT_EQ(selection.max_ranks(), 1);
  EXPECT_THAT(selection.slot_begin(), ElementsAre(0, 0, 0, 1));
  EXPECT_THAT(selection.weights_of_row(0), ElementsAre(0.5f));
}

}  // namespace
}  // namespace olmoe::ops
