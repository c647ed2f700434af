#include "server/routing/plan_slot.h"

#include <atomic>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/util/sha256.h"
#include "tests/routing/policies.h"

namespace olmoe::routing {
namespace {

// A plan whose parts all tell its generation, and whose note is the hash of the
// rest: a reader that sees parts of two plans, or a plan half made, knows it.
std::shared_ptr<const RoutingPlan> SelfCheckingPlan(uint64_t generation) {
  PlanSpec spec = PlanOf(
      {ArmOf(absl::StrCat("arm-", generation),
             PolicyOf(TopKRule(1 + generation % 64), std::nullopt, absl::StrCat("p", generation)))},
      absl::StrCat("salt-", generation));
  spec.note = Sha256Hex(absl::StrCat(spec.arms[0].arm_id, spec.salt));
  return RoutingPlan::Create(std::move(spec), kSmall, nullptr, 8, generation, PlanSource::kPatch,
                             absl::UnixEpoch(), "plan")
      .value();
}

bool IsWhole(const RoutingPlan& plan) {
  const PlanSpec& spec = plan.spec();
  const std::string generation = absl::StrCat(plan.generation());
  return spec.arms.size() == 1 && plan.arms().size() == 1 &&
         spec.arms[0].arm_id == "arm-" + generation &&
         plan.arms()[0].arm_id == "arm-" + generation && spec.salt == "salt-" + generation &&
         spec.arms[0].policy.policy_id == "p" + generation &&
         spec.note == Sha256Hex(absl::StrCat(spec.arms[0].arm_id, spec.salt));
}

// ---------------------------------------------------------------- one thread

TEST(PlanSlotTest, PinKeepsItsPlanAcrossASwap) {
  PlanSlot slot(SelfCheckingPlan(1));
  PlanPin pin = slot.Pin();
  const PlanSlot::Swap swap = slot.Publish(SelfCheckingPlan(2));
  EXPECT_EQ(swap.previous->generation(), 1u);
  EXPECT_EQ(swap.in_flight_on_previous, 1);
  EXPECT_GE(swap.admission_blocked, absl::ZeroDuration());
  EXPECT_EQ(pin->generation(), 1u);
  EXPECT_EQ(slot.Current()->generation(), 2u);
  EXPECT_EQ(slot.Pin()->generation(), 2u);
}

TEST(PlanSlotTest, AnotherPinIsOfTheSamePlanAndCounts) {
  PlanSlot slot(SelfCheckingPlan(1));
  PlanPin first = slot.Pin();
  slot.Publish(SelfCheckingPlan(2));
  PlanPin again = first.Again();
  first.Release();
  EXPECT_EQ(again->generation(), 1u);
  EXPECT_EQ(slot.InFlight(1), 1);
  again.Release();
  EXPECT_EQ(slot.InFlight(1), 0);
}

TEST(PlanSlotTest, OldPlanIsFreedWithItsLastPin) {
  PlanSlot slot(SelfCheckingPlan(1));
  std::weak_ptr<const RoutingPlan> first = slot.Current();
  PlanPin a = slot.Pin(), b = slot.Pin();
  slot.Publish(SelfCheckingPlan(2));
  a.Release();
  EXPECT_FALSE(first.expired());
  ASSERT_EQ(slot.Draining().size(), 1u);
  EXPECT_EQ(slot.Draining()[0].in_flight, 1);
  b.Release();
  EXPECT_TRUE(first.expired());
  EXPECT_TRUE(slot.Draining().empty());
}

TEST(PlanSlotTest, UnpinnedPlanIsFreedByTheSwap) {
  PlanSlot slot(SelfCheckingPlan(1));
  std::weak_ptr<const RoutingPlan> first = slot.Current();
  slot.Publish(SelfCheckingPlan(2));
  EXPECT_TRUE(first.expired());
  EXPECT_TRUE(slot.Draining().empty());
}

TEST(PlanSlotTest, DrainingPlansAreNewestFirst) {
  PlanSlot slot(SelfCheckingPlan(1));
  PlanPin one = slot.Pin();
  slot.Publish(SelfCheckingPlan(2));
  slot.Publish(SelfCheckingPlan(3));
  PlanPin three = slot.Pin(), three_again = slot.Pin();
  slot.Publish(SelfCheckingPlan(9));
  PlanPin nine = slot.Pin();
  const std::vector<DrainingPlan> draining = slot.Draining();
  ASSERT_EQ(draining.size(), 2u);
  EXPECT_EQ(draining[0].plan->generation(), 3u);
  EXPECT_EQ(draining[0].in_flight, 2);
  EXPECT_EQ(draining[1].plan->generation(), 1u);
  EXPECT_EQ(slot.InFlight(1), 1);
  EXPECT_EQ(slot.InFlight(2), 0);
  EXPECT_EQ(slot.InFlight(9), 1);
}

TEST(PlanSlotTest, MovedPinCountsOnce) {
  PlanSlot slot(SelfCheckingPlan(1));
  PlanPin a = slot.Pin();
  PlanPin b = std::move(a);
  EXPECT_FALSE(a);
  EXPECT_EQ(slot.InFlight(1), 1);
  PlanPin c = slot.Pin();
  c = std::move(b);
  EXPECT_EQ(slot.InFlight(1), 1);
  PlanPin& same = c;
  c = std::move(same);
  EXPECT_EQ(slot.InFlight(1), 1);
  c.Release();
  c.Release();
  EXPECT_EQ(slot.InFlight(1), 0);
}

TEST(PlanSlotTest, DrainIsOfOlderPlansOnly) {
  PlanSlot slot(SelfCheckingPlan(1));
  PlanPin old = slot.Pin();
  slot.Publish(SelfCheckingPlan(2));
  PlanPin current = slot.Pin();
  EXPECT_FALSE(slot.AwaitDrainBefore(2, absl::InfinitePast()));
  EXPECT_TRUE(slot.AwaitDrainBefore(1, absl::InfinitePast()));
  old.Release();
  EXPECT_TRUE(slot.AwaitDrainBefore(2, absl::InfinitePast()));
  EXPECT_FALSE(slot.AwaitDrainBefore(3, absl::InfinitePast()));
}

TEST(PlanSlotDeathTest, GenerationsNeverGoBack) {
  PlanSlot slot(SelfCheckingPlan(2));
  EXPECT_DEATH(slot.Publish(SelfCheckingPlan(2)), "never go back");
}

TEST(PlanSlotDeathTest, PinThatOutlivesTheSlotIsAProgrammingError) {
  EXPECT_DEATH(
      {
        PlanPin pin;
        PlanSlot slot(SelfCheckingPlan(1));
        pin = slot.Pin();
      },
      "still pinned");
}

// ---------------------------------------------------------------- many threads

TEST(PlanSlotConcurrencyTest, LastUnpinWakesTheDrain) {
  for (int round = 0; round < 200; ++round) {
    PlanSlot slot(SelfCheckingPlan(1));
    std::vector<std::thread> readers;
    absl::Notification swapped;
    for (int i = 0; i < 4; ++i) {
      readers.emplace_back([pin = slot.Pin(), &swapped]() mutable {
        swapped.WaitForNotification();
        pin.Release();
      });
    }
    slot.Publish(SelfCheckingPlan(2));
    swapped.Notify();
    EXPECT_TRUE(slot.AwaitDrainBefore(2, absl::InfiniteFuture()));
    for (std::thread& reader : readers) reader.join();
  }
}

// One writer, many readers: every pin is a whole plan, a reader's generations never
// go back, and the counts come out even.
TEST(PlanSlotConcurrencyTest, ReadersSeeWholePlansInOrder) {
  constexpr uint64_t kLast = 2000;
  constexpr int kReaders = 4;
  PlanSlot slot(SelfCheckingPlan(1));
  std::atomic<int> torn = 0, backwards = 0;
  std::atomic<bool> done = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < kReaders; ++i) {
    readers.emplace_back([&, i] {
      uint64_t newest = 0;
      std::vector<PlanPin> held;  // requests of different lengths
      while (!done.load()) {
        PlanPin pin = slot.Pin();
        if (!IsWhole(*pin)) ++torn;
        if (pin->generation() < newest) ++backwards;
        newest = pin->generation();
        held.push_back(std::move(pin));
        if (held.size() > static_cast<size_t>(3 + i)) {
          if (!IsWhole(*held.front())) ++torn;
          held.erase(held.begin());
        }
      }
    });
  }
  std::thread watcher([&] {
    while (!done.load()) {
      uint64_t newer = UINT64_MAX;
      for (const DrainingPlan& draining : slot.Draining()) {
        if (draining.in_flight < 1 || !IsWhole(*draining.plan)) ++torn;
        if (draining.plan->generation() >= newer) ++backwards;
        newer = draining.plan->generation();
      }
    }
  });
  for (uint64_t generation = 2; generation <= kLast; ++generation) {
    const PlanSlot::Swap swap = slot.Publish(SelfCheckingPlan(generation));
    ASSERT_EQ(swap.previous->generation(), generation - 1);
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  watcher.join();
  EXPECT_EQ(torn, 0);
  EXPECT_EQ(backwards, 0);
  EXPECT_TRUE(slot.Draining().empty());
  EXPECT_EQ(slot.InFlight(kLast), 0);
}

}  // namespace
}  // namespace olmoe::routing
