// Plans with a time to live: what comes back, and when.
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "tests/routing/controllers.h"
#include "tests/support/log_capture.h"

namespace olmoe::routing {
namespace {

using ::testing::HasSubstr;

class TtlTest : public ControllerTest {
 protected:
  std::string ReasonOf(const absl::Status& status) {
    return DetailOf<google::rpc::ErrorInfo>(status).reason();
  }
};

TEST_F(TtlTest, ThePlanBeforeComesBackWhenTheTimeEnds) {
  MustPatch(4);
  MustPatch(5, Living(absl::Minutes(10)));
  EXPECT_EQ(controller_->CurrentRecord()->expire_time, clock_.Now() + absl::Minutes(10));
  Advance(absl::Minutes(10) - absl::Nanoseconds(1));
  EXPECT_EQ(CurrentK(), 5u);
  Advance(absl::Nanoseconds(1));
  EXPECT_EQ(CurrentK(), 4u);
  EXPECT_EQ(Generation(), 4u);
  EXPECT_EQ(Current()->source(), PlanSource::kExpired);
  EXPECT_FALSE(controller_->CurrentRecord()->has_ttl());
}

TEST_F(TtlTest, ANewerPlanEndsTheTimeOfTheOlder) {
  MustPatch(4, Living(absl::Minutes(1)));
  MustPatch(5);
  Advance(absl::Hours(1));
  EXPECT_EQ(CurrentK(), 5u);
  EXPECT_EQ(Generation(), 3u);
}

TEST_F(TtlTest, APlanWhoseTimeIsNotOverComesBackForTheRestOfIt) {
  MustPatch(4);
  MustPatch(5, Living(absl::Minutes(10)));
  MustPatch(6, Living(absl::Minutes(3)));
  Advance(absl::Minutes(3));
  EXPECT_EQ(CurrentK(), 5u);
  EXPECT_TRUE(controller_->CurrentRecord()->has_ttl());
  Advance(absl::Minutes(7));
  EXPECT_EQ(CurrentK(), 4u);
  EXPECT_EQ(Generation(), 6u);
}

TEST_F(TtlTest, APlanWhoseTimeIsOverIsSkipped) {
  MustPatch(4);
  MustPatch(5, Living(absl::Minutes(2)));
  MustPatch(6, Living(absl::Minutes(3)));
  Advance(absl::Minutes(3));
  EXPECT_EQ(CurrentK(), 4u);
  EXPECT_EQ(Generation(), 5u);
}

TEST_F(TtlTest, AtTheEndIsTheModelsOwnRouting) {
  MustPatch(4, Living(absl::Minutes(1)));
  Advance(absl::Minutes(1));
  EXPECT_EQ(CurrentK(), 0u);
  EXPECT_EQ(Current()->source(), PlanSource::kExpired);
}

TEST_F(TtlTest, APlanWhoseCalibrationIsGoneDoesNotComeBack) {
  ASSERT_TRUE(calibrations_.Add(CalibrationOf("cal", 16)).ok());
  ASSERT_TRUE(controller_->Patch(OneArm(ToRule(Bh(0.1))), {}).ok());
  MustPatch(4, Living(absl::Minutes(1)));
  ASSERT_TRUE(calibrations_.Remove("cal").ok());
  Advance(absl::Minutes(1));
  EXPECT_EQ(CurrentK(), 0u);
}

TEST_F(TtlTest, WhereThePlanBeforeIsForgottenTheNewestLastingOneComesBack) {
  MustPatch(4);
  // Each ends while the next is current: the chain of plans before is longer than the
  // history.
  for (size_t i = 0; i <= MemoryPlanStore::kMaxPlans; ++i) {
    MustPatch(5 + i % 2, Living(absl::Hours(1)));
  }
  ASSERT_FALSE(memory_.Find(3).ok());
  Advance(absl::Hours(2));
  EXPECT_EQ(CurrentK(), 4u);
}

TEST_F(TtlTest, TheSamePlanWithATimeIsAnotherPlan) {
  MustPatch(4);
  EXPECT_EQ(MustPatch(4, Living(absl::Minutes(1))), 3u);
  EXPECT_EQ(MustPatch(4), 4u);  // and stays now
  Advance(absl::Hours(1));
  EXPECT_EQ(Generation(), 4u);
}

TEST_F(TtlTest, RollbackToAPlanWithATimeStays) {
  MustPatch(4, Living(absl::Minutes(1)));
  Advance(absl::Minutes(1));
  ASSERT_TRUE(controller_->Rollback(2, {}).ok());
  Advance(absl::Hours(1));
  EXPECT_EQ(CurrentK(), 4u);
}

TEST_F(TtlTest, RenewalMovesTheEnd) {
  MustPatch(4, Living(absl::Minutes(1)));
  clock_.Advance(absl::Seconds(30));
  const auto end = controller_->Renew(2, absl::Minutes(5));
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(*end, clock_.Now() + absl::Minutes(5));
  EXPECT_EQ(controller_->CurrentRecord()->expire_time, *end);
  Advance(absl::Minutes(4));
  EXPECT_EQ(CurrentK(), 4u);
  ASSERT_TRUE(controller_->Renew(2, absl::Seconds(1)).ok());
  Advance(absl::Seconds(1));
  EXPECT_EQ(CurrentK(), 0u);
}

TEST_F(TtlTest, OnlyTheCurrentPlanWithATimeLeftIsRenewed) {
  MustPatch(4, Living(absl::Minutes(1)));
  EXPECT_EQ(ReasonOf(controller_->Renew(1, absl::Minutes(1)).status()), "GENERATION_MISMATCH");
  clock_.Advance(absl::Minutes(1));
  EXPECT_EQ(ReasonOf(controller_->Renew(2, absl::Minutes(1)).status()), "EXPIRED");
  MustPatch(5);
  const absl::Status lasting = controller_->Renew(3, absl::Minutes(1)).status();
  EXPECT_EQ(lasting.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(lasting), "NO_TTL");
}

TEST_F(TtlTest, ARenewalThatCannotBeStoredDoesNotCount) {
  MustPatch(4, Living(absl::Minutes(1)));
  store_.SetFull(true);
  EXPECT_EQ(ReasonOf(controller_->Renew(2, absl::Minutes(9)).status()), "NOT_STORED");
  store_.SetFull(false);
  Advance(absl::Minutes(1));
  EXPECT_EQ(CurrentK(), 0u);
}

TEST_F(TtlTest, TheEndSurvivesARestart) {
  MustPatch(4, Living(absl::Minutes(1)));
  ASSERT_TRUE(controller_->Renew(2, absl::Minutes(3)).ok());
  clock_.Advance(absl::Minutes(2));
  Restart();
  EXPECT_EQ(CurrentK(), 4u);
  Advance(absl::Minutes(1));
  EXPECT_EQ(CurrentK(), 0u);
}

TEST_F(TtlTest, APlanThatEndedWhileTheServerWasDownIsRolledBackAtStart) {
  MustPatch(4);
  MustPatch(5, Living(absl::Minutes(1)));
  controller_.reset();
  clock_.Advance(absl::Hours(1));
  Restart();
  EXPECT_EQ(CurrentK(), 4u);
  EXPECT_EQ(Generation(), 4u);
  EXPECT_EQ(Current()->source(), PlanSource::kExpired);
}

// As a damaged state might have it. One that falls back on itself would never end.
TEST_F(TtlTest, AFallbackThatIsNotOlderIsNone) {
  MustPatch(4);
  for (const uint64_t distance : {uint64_t{0}, uint64_t{1}, UINT64_MAX / 2}) {
    PlanChange damaged;
    damaged.plan = *controller_->CurrentRecord();
    const uint64_t generation = ++damaged.plan->generation;
    damaged.plan->expire_time = clock_.Now() + absl::Minutes(1);
    damaged.plan->fallback_generation = generation + distance;
    ASSERT_TRUE(memory_.Append(damaged).ok());
    clock_.Advance(absl::Hours(1));
    testing::LogCapture log;
    Restart();
    EXPECT_EQ(CurrentK(), 0u);
    EXPECT_EQ(Generation(), generation + 1);
    EXPECT_EQ(log.CountOf(absl::StrCat("generation ", generation, " falls back to generation ",
                                       generation + distance, ", which is not older")),
              1);
  }
}

TEST_F(TtlTest, AnExpiredPlanInTheChainThatFallsBackOnItselfEndsTheChain) {
  MustPatch(4);
  MustPatch(5, Living(absl::Minutes(1)));
  PlanChange damaged;
  damaged.plan = memory_.Find(3).value();
  damaged.plan->fallback_generation = 3;
  MustPatch(6, Living(absl::Minutes(2)));
  ASSERT_TRUE(memory_.Append(damaged).ok());
  Advance(absl::Minutes(2));
  EXPECT_EQ(CurrentK(), 0u);
}

TEST_F(TtlTest, AnEndThatCannotBeStoredIsTriedAgain) {
  MustPatch(4, Living(absl::Minutes(1)));
  store_.SetFull(true);
  clock_.Advance(absl::Minutes(1));
  EXPECT_FALSE(controller_->ExpireDue().ok());
  EXPECT_EQ(CurrentK(), 4u);
  store_.SetFull(false);
  EXPECT_TRUE(controller_->ExpireDue().ok());
  EXPECT_EQ(CurrentK(), 0u);
}

// On the real clock: nobody calls ExpireDue.
TEST_F(TtlTest, TheEndComesByItself) {
  RoutingController::Options options = DefaultOptions();
  options.now = absl::Now;
  ASSERT_TRUE(RestartWith(options).ok());
  absl::Notification expired;
  controller_->listeners().Add([&] {
    if (Current()->source() == PlanSource::kExpired && !expired.HasBeenNotified()) {
      expired.Notify();
    }
  });
  MustPatch(4, Living(absl::Milliseconds(20)));
  expired.WaitForNotification();
  EXPECT_EQ(CurrentK(), 0u);
}

}  // namespace
}  // namespace olmoe::routing
