#include "server/engine/prefill_budget.h"

#include <gtest/gtest.h>

namespace olmoe::engine {
namespace {

constexpr absl::Duration kTarget = absl::Milliseconds(100);

TEST(PrefillBudgetTest, WithoutATargetNothingIsCut) {
  PrefillBudget budget(512, absl::ZeroDuration());
  budget.OnSharedStep(512, absl::Seconds(60));
  EXPECT_EQ(budget.rows(), 512);
}

TEST(PrefillBudgetTest, ASlowStepShrinksItByWhatItWasTooSlowAtMostToAHalf) {
  PrefillBudget budget(512, kTarget);
  budget.OnSharedStep(512, absl::Milliseconds(125));
  EXPECT_EQ(budget.rows(), 409);
  budget.OnSharedStep(409, absl::Seconds(10));
  EXPECT_EQ(budget.rows(), 204);
}

TEST(PrefillBudgetTest, SomeRowsAreAlwaysAllowed) {
  PrefillBudget budget(512, kTarget);
  for (int i = 0; i < 20; ++i) budget.OnSharedStep(budget.rows(), absl::Seconds(1));
  EXPECT_EQ(budget.rows(), PrefillBudget::kMinRows);
  PrefillBudget small(4, kTarget);
  small.OnSharedStep(4, absl::Seconds(1));
  EXPECT_EQ(small.rows(), 4);
}

TEST(PrefillBudgetTest, AFastStepLetsItGrowOnlyIfItUsedAllOfIt) {
  PrefillBudget budget(512, kTarget);
  for (int i = 0; i < 2; ++i) budget.OnSharedStep(budget.rows(), absl::Seconds(1));
  ASSERT_EQ(budget.rows(), 128);
  budget.OnSharedStep(127, absl::Milliseconds(1));
  EXPECT_EQ(budget.rows(), 128);
  budget.OnSharedStep(128, absl::Milliseconds(80));
  EXPECT_EQ(budget.rows(), 160);
  for (int i = 0; i < 9; ++i) budget.OnSharedStep(budget.rows(), absl::ZeroDuration());
  EXPECT_EQ(budget.rows(), 512);
}

// A model whose step takes 40 ms and 0.5 ms a row: 120 rows keep to 100 ms.
TEST(PrefillBudgetTest, SettlesWhereTheStepTakesTheTarget) {
  PrefillBudget budget(512, kTarget);
  for (int i = 0; i < 12; ++i) {
    budget.OnSharedStep(budget.rows(), absl::Milliseconds(40 + 0.5 * budget.rows()));
  }
  EXPECT_NEAR(budget.rows(), 120, 2);
}

}  // namespace
}  // namespace olmoe::engine
