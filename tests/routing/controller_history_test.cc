// What is kept of patches: restarts, rollbacks, idempotency keys, disks that are full.
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/routing/controllers.h"

namespace olmoe::routing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HistoryTest : public ControllerTest {
 protected:
  std::string ReasonOf(const absl::Status& status) {
    return DetailOf<google::rpc::ErrorInfo>(status).reason();
  }
};

PatchOptions WithKey(std::string key, std::string digest) {
  PatchOptions options;
  options.idempotency.key = std::move(key);
  options.idempotency.request_digest = std::move(digest);
  return options;
}

TEST_F(HistoryTest, ARestartServesTheLastPlanUnderItsGeneration) {
  PatchOptions options;
  options.actor = "ann";
  MustPatch(4, options);
  MustPatch(5, options);
  const auto before = Current();
  Restart();
  EXPECT_EQ(Generation(), 3u);
  EXPECT_EQ(CurrentK(), 5u);
  EXPECT_EQ(Current()->digest(), before->digest());
  EXPECT_EQ(Current()->source(), PlanSource::kPatch);
  EXPECT_EQ(controller_->CurrentRecord()->actor, "ann");
  EXPECT_EQ(MustPatch(6), 4u);
}

TEST_F(HistoryTest, TheHistoryIsNewestFirst) {
  MustPatch(4);
  ASSERT_TRUE(controller_->Unpatch({}).ok());
  const auto records = controller_->history().List(UINT64_MAX, 10);
  ASSERT_TRUE(records.ok());
  ASSERT_EQ(records->size(), 3u);
  EXPECT_EQ(records->at(0).source, PlanSource::kUnpatch);
  EXPECT_EQ(records->at(1).source, PlanSource::kPatch);
  EXPECT_EQ(records->at(1).spec, OneArm(TopKRule(4)));
  EXPECT_EQ(records->at(2).source, PlanSource::kStartup);
}

TEST_F(HistoryTest, RollbackGoesToTheOneBeforeAndTwiceComesBack) {
  MustPatch(4);
  MustPatch(5);
  const auto back = controller_->Rollback(std::nullopt, {});
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(Generation(), 4u);
  EXPECT_EQ(CurrentK(), 4u);
  EXPECT_EQ(Current()->source(), PlanSource::kRollback);
  ASSERT_TRUE(controller_->Rollback(std::nullopt, {}).ok());
  EXPECT_EQ(CurrentK(), 5u);
}

TEST_F(HistoryTest, RollbackGoesToAnyKeptGeneration) {
  MustPatch(4);
  MustPatch(5);
  MustPatch(6);
  ASSERT_TRUE(controller_->Rollback(2, {}).ok());
  EXPECT_EQ(CurrentK(), 4u);
  ASSERT_TRUE(controller_->Rollback(1, {}).ok());
  EXPECT_EQ(CurrentK(), 0u);
  EXPECT_EQ(Generation(), 6u);
}

TEST_F(HistoryTest, RollbackToThePlanThatIsCurrentChangesNothing) {
  MustPatch(4);
  const auto result = controller_->Rollback(2, {});
  ASSERT_TRUE(result.ok());
  EXPECT_FALSE(result->changed);
  EXPECT_THAT(result->warnings, ElementsAre(HasSubstr("generation 2 was current already")));
}

TEST_F(HistoryTest, RollbackRefusesAnUnknownOrStaleGeneration) {
  EXPECT_EQ(ReasonOf(controller_->Rollback(std::nullopt, {}).status()), "UNKNOWN_GENERATION");
  MustPatch(4);
  const absl::Status unknown = controller_->Rollback(77, {}).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(unknown), "UNKNOWN_GENERATION");
  EXPECT_EQ(ReasonOf(controller_->Rollback(1, Expecting(1)).status()), "GENERATION_MISMATCH");
  EXPECT_EQ(Generation(), 2u);
}

TEST_F(HistoryTest, RollbackToAPlanWhoseCalibrationIsGoneOrAnotherIsRefused) {
  ASSERT_TRUE(calibrations_.Add(CalibrationOf("cal", 16)).ok());
  ASSERT_TRUE(controller_->Patch(OneArm(ToRule(Bh(0.1))), {}).ok());
  MustPatch(4);
  ASSERT_TRUE(calibrations_.Remove("cal").ok());
  const absl::Status gone = controller_->Rollback(2, {}).status();
  EXPECT_EQ(gone.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(DetailOf<google::rpc::PreconditionFailure>(gone).violations(0).type(),
            "CALIBRATION_MISSING");
  ASSERT_TRUE(calibrations_.Add(CalibrationOf("cal", 16, /*x0=*/-2)).ok());
  const absl::Status other = controller_->Rollback(2, {}).status();
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(DetailOf<google::rpc::PreconditionFailure>(other).violations(0).type(), "PLAN_CHANGED");
  EXPECT_EQ(Generation(), 3u);
}

TEST_F(HistoryTest, AStartWhoseStoredPlanDoesNotRunIsRefused) {
  MustPatch(60);
  RoutingController::Options smaller = DefaultOptions();
  smaller.shape = {16, 32, 8, false};
  const absl::Status status = RestartWith(smaller);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("generation 2"));
}

TEST_F(HistoryTest, TheSameKeyGivesTheFirstAnswerAgainAlsoAfterARestart) {
  const PatchOptions options = WithKey("key", "content");
  const auto first = controller_->Patch(OneArm(TopKRule(4)), options);
  ASSERT_TRUE(first.ok());
  EXPECT_FALSE(first->is_repeated);
  MustPatch(5);
  for (int start = 0; start < 2; ++start) {
    const auto again = controller_->Patch(OneArm(TopKRule(4)), options);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(again->is_repeated);
    EXPECT_TRUE(again->changed);
    EXPECT_EQ(again->record.generation, 2u);
    EXPECT_EQ(again->record.spec, first->record.spec);
    EXPECT_EQ(CurrentK(), 5u);
    Restart();
  }
}

TEST_F(HistoryTest, TheFirstAnswerCountsAlsoWhereTheGenerationHasMovedOn) {
  PatchOptions options = WithKey("key", "content");
  options.expected_generation = 1;
  ASSERT_TRUE(controller_->Patch(OneArm(TopKRule(4)), options).ok());
  EXPECT_TRUE(controller_->Patch(OneArm(TopKRule(4)), options)->is_repeated);
}

TEST_F(HistoryTest, AKeyWithAnotherContentIsRefused) {
  ASSERT_TRUE(controller_->Patch(OneArm(TopKRule(4)), WithKey("key", "content")).ok());
  const absl::Status status =
      controller_->Patch(OneArm(TopKRule(5)), WithKey("key", "other")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(status), "IDEMPOTENCY_KEY_REUSED");
  EXPECT_THAT(ViolatedFields(status), ElementsAre("idempotency_key"));
  EXPECT_EQ(CurrentK(), 4u);
}

TEST_F(HistoryTest, AnUnchangedPatchKeepsItsAnswerToo) {
  MustPatch(4);
  ASSERT_FALSE(controller_->Patch(OneArm(TopKRule(4)), WithKey("key", "content"))->changed);
  MustPatch(5);
  const auto again = controller_->Patch(OneArm(TopKRule(4)), WithKey("key", "content"));
  EXPECT_TRUE(again->is_repeated);
  EXPECT_FALSE(again->changed);
  EXPECT_EQ(again->record.generation, 2u);
  EXPECT_EQ(CurrentK(), 5u);
}

TEST_F(HistoryTest, RefusalsAndValidateOnlyKeepNoAnswer) {
  PatchOptions stale = WithKey("key", "content");
  stale.expected_generation = 9;
  EXPECT_FALSE(controller_->Patch(OneArm(TopKRule(4)), stale).ok());
  PatchOptions validate = WithKey("key", "content");
  validate.validate_only = true;
  EXPECT_TRUE(controller_->Patch(OneArm(TopKRule(4)), validate).ok());
  EXPECT_TRUE(controller_->Patch(OneArm(TopKRule(4)), WithKey("key", "content"))->changed);
}

TEST_F(HistoryTest, AFullDiskRefusesThePatchAndChangesNothing) {
  MustPatch(4);
  const auto before = Current();
  store_.SetFull(true);
  for (const absl::Status& status :
       {controller_->Patch(OneArm(TopKRule(5)), WithKey("key", "content")).status(),
        controller_->Unpatch({}).status(), controller_->Rollback(1, {}).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(ReasonOf(status), "NOT_STORED");
  }
  EXPECT_EQ(Current(), before);
  EXPECT_EQ(controller_->slot().Pin()->generation(), 2u);
  store_.SetFull(false);
  EXPECT_TRUE(controller_->Patch(OneArm(TopKRule(5)), WithKey("key", "content"))->changed);
  EXPECT_EQ(Generation(), 3u);
}

TEST_F(HistoryTest, APlanIsStoredBeforeItIsPublished) {
  store_.before_append = [this] { EXPECT_EQ(Generation(), 1u); };
  store_.after_append = [this] {
    EXPECT_EQ(Generation(), 1u);
    EXPECT_TRUE(memory_.Find(2).ok());
  };
  MustPatch(4);
}

TEST_F(HistoryTest, ExamineMayRefuseAfterTheComparisonAndBeforeTheStore) {
  PatchOptions options = Expecting(7);
  int checks = 0;
  options.examine = [&](const RoutingPlan& candidate) -> absl::StatusOr<PlanFindings> {
    ++checks;
    EXPECT_EQ(candidate.generation(), 2u);
    return absl::FailedPreconditionError("no change");
  };
  EXPECT_EQ(controller_->Patch(OneArm(TopKRule(4)), options).status().code(),
            absl::StatusCode::kAborted);
  EXPECT_EQ(checks, 0);
  options.expected_generation = 1;
  EXPECT_EQ(controller_->Patch(OneArm(TopKRule(4)), options).status().message(), "no change");
  options.validate_only = true;
  EXPECT_FALSE(controller_->Patch(OneArm(TopKRule(4)), options).ok());
  EXPECT_EQ(checks, 2);
  EXPECT_EQ(Generation(), 1u);
  EXPECT_EQ(memory_.List(UINT64_MAX, 10)->size(), 1u);
}

TEST_F(HistoryTest, AFileIsTheFirstPlanOfAnEmptyStore) {
  MemoryPlanStore empty;
  RoutingController::Options options = DefaultOptions();
  options.store = &empty;
  options.file = PlanFile{OneArm(TopKRule(3)), "digest-3"};
  ASSERT_TRUE(RestartWith(options).ok());
  EXPECT_EQ(Generation(), 1u);
  EXPECT_EQ(CurrentK(), 3u);
  EXPECT_EQ(Current()->source(), PlanSource::kStartup);
}

TEST_F(HistoryTest, AtARestartAFileCountsOnlyIfItHasChanged) {
  RoutingController::Options options = DefaultOptions();
  options.file = PlanFile{OneArm(TopKRule(3)), "digest-3"};
  ASSERT_TRUE(RestartWith(options).ok());
  EXPECT_EQ(CurrentK(), 3u);
  EXPECT_EQ(Current()->source(), PlanSource::kFile);
  MustPatch(9);
  ASSERT_TRUE(RestartWith(options).ok());
  EXPECT_EQ(CurrentK(), 9u);
  options.file = PlanFile{OneArm(TopKRule(2)), "digest-2"};
  ASSERT_TRUE(RestartWith(options).ok());
  EXPECT_EQ(CurrentK(), 2u);
  EXPECT_EQ(Generation(), 4u);
}

TEST_F(HistoryTest, AFileThatIsAppliedAgainCountsAgain) {
  const PlanFile file{OneArm(TopKRule(3)), "digest-3"};
  ASSERT_TRUE(controller_->ApplyFile(file)->changed);
  MustPatch(9);
  ASSERT_TRUE(controller_->ApplyFile(file)->changed);
  EXPECT_EQ(CurrentK(), 3u);
  EXPECT_FALSE(controller_->ApplyFile(file)->changed);
}

TEST_F(HistoryTest, AFileThatDoesNotFitTheModelIsRefused) {
  RoutingController::Options options = DefaultOptions();
  options.file = PlanFile{OneArm(TopKRule(65)), "digest"};
  EXPECT_THAT(ViolatedFields(RestartWith(options)),
              ElementsAre("plan.arms[0].policy.apply.top_k.k"));
}

TEST_F(HistoryTest, ACheckTellsWhatAStartWouldAndChangesNothing) {
  MustPatch(60);
  RoutingController::Options options = DefaultOptions();
  options.file = PlanFile{OneArm(TopKRule(3)), "good"};
  EXPECT_TRUE(RoutingController::Check(options).ok());
  options.file = PlanFile{OneArm(TopKRule(65)), "bad"};
  EXPECT_EQ(RoutingController::Check(options).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(memory_.List(UINT64_MAX, 10)->size(), 2u);
  EXPECT_EQ(*memory_.FileDigest(), "");
  // Applied before: it does not count again.
  PlanChange applied;
  applied.file_digest = "bad";
  ASSERT_TRUE(memory_.Append(applied).ok());
  EXPECT_TRUE(RoutingController::Check(options).ok());
  options.shape = {16, 32, 8, false};  // of a model that has no 60
  EXPECT_EQ(RoutingController::Check(options).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(HistoryTest, ACheckOfAnEmptyStoreLooksAtTheFile) {
  RoutingController::Options options = DefaultOptions();
  MemoryPlanStore empty;
  for (PlanStore* store : {static_cast<PlanStore*>(&empty), static_cast<PlanStore*>(nullptr)}) {
    options.store = store;
    options.file = PlanFile{OneArm(TopKRule(65)), "bad"};
    EXPECT_EQ(RoutingController::Check(options).code(), absl::StatusCode::kInvalidArgument);
    options.file = PlanFile{OneArm(TopKRule(3)), "good"};
    EXPECT_TRUE(RoutingController::Check(options).ok());
    options.file.reset();
    EXPECT_TRUE(RoutingController::Check(options).ok());
  }
  EXPECT_TRUE(empty.List(UINT64_MAX, 10)->empty());
}

TEST_F(HistoryTest, ListenersHearOfPlansAndOfDrains) {
  int calls = 0;
  controller_->listeners().Add([&calls] { ++calls; });
  PlanPin pin = controller_->slot().Pin();
  MustPatch(4);
  EXPECT_EQ(calls, 1);
  pin.Release();
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace olmoe::routing
