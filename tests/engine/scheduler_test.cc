#include "server/engine/scheduler.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "tests/engine/harness.h"

namespace olmoe::engine {
namespace {

constexpr model::KvCacheShape kKv = {.page_tokens = 4, .num_pages = 100, .page_bytes = 1};

// A scheduler with requests called by letters, and a model that computes nothing.
class SchedulerTest : public ::testing::Test {
 protected:
  void Init(int max_sequences, int group_rows, model::KvCacheShape kv = kKv,
            absl::Duration itl_target = absl::ZeroDuration()) {
    scheduler_.emplace(
        Scheduler::Options{
            .max_sequences = max_sequences, .group_rows = group_rows, .itl_target = itl_target},
        kv);
  }

  void AddGenerate(const std::string& name, int prompt, int max_new_tokens = 4) {
    GenerateWork work;
    work.prompt = Range(1, prompt);
    work.max_new_tokens = max_new_tokens;
    Add(name, std::move(work));
  }

  void AddScore(const std::string& name, int num_windows, int rows, bool alone = false) {
    ScoreWork work;
    work.last_logits = alone;
    work.windows.assign(num_windows, {.tokens = Range(1, rows + 1), .first_scored = 1});
    Add(name, std::move(work));
  }

  // The next step as "A1 B3": one row of A, three of B. Every completion draws a token.
  std::string Step(absl::Duration step_time = absl::ZeroDuration()) {
    ScheduledStep step;
    scheduler_->NextStep(&step);
    scheduler_->OnStepDone(step, step_time);
    std::vector<std::string> chunks;
    for (const ScheduledChunk& chunk : step.chunks) {
      chunks.push_back(absl::StrCat(chunk.request->request().request_id, chunk.num_rows));
      chunk.sequence->Advance(chunk.num_rows);
      if (chunk.sequence->num_pending() > 0) continue;
      if (chunk.phase == Phase::kScore) {
        scheduler_->Release(chunk.sequence);
      } else {
        chunk.sequence->Append(1);
      }
    }
    return absl::StrJoin(chunks, " ");
  }

  void Remove(const std::string& name) { scheduler_->Remove(requests_.at(name).get()); }
  LiveRequest& Get(const std::string& name) { return *requests_.at(name); }

  std::optional<Scheduler> scheduler_;

 private:
  void Add(const std::string& name, std::variant<GenerateWork, ScoreWork> work) {
    Request request;
    request.request_id = name;
    request.work = std::move(work);
    auto live = std::make_unique<LiveRequest>(std::move(request), Sink{}, absl::UnixEpoch(),
                                              model::ModelInfo{}, nullptr);
    scheduler_->Add(live.get());
    requests_[name] = std::move(live);
  }

  std::map<std::string, std::unique_ptr<LiveRequest>> requests_;
};

TEST_F(SchedulerTest, DecodeRowsThenBegunThenNewInOrderOfArrival) {
  Init(/*max_sequences=*/8, /*group_rows=*/8);
  AddGenerate("A", 1);
  AddGenerate("B", 3);
  AddGenerate("C", 7);
  EXPECT_EQ(Step(), "A1 B3 C4");
  AddGenerate("D", 4);
  AddGenerate("E", 6);
  EXPECT_EQ(Step(), "A1 B1 C3 D4 E1") << "the example of scheduler.h";
  EXPECT_EQ(Step(), "A1 B1 C1 D1 E5");
  EXPECT_EQ(Step(), "A1 B1 C1 D1 E1");
}

TEST_F(SchedulerTest, APromptOfTheGroupsSizeIsNotCutBecauseOthersDecode) {
  Init(4, 8);
  AddGenerate("A", 1);
  Step();
  AddGenerate("B", 8);
  EXPECT_EQ(Step(), "A1 B8");
}

TEST_F(SchedulerTest, AFewRowsMoreThanTheGroupDoNotGetAStepOfTheirOwn) {
  Init(4, 16);
  AddGenerate("A", 18);
  AddGenerate("B", 19);
  EXPECT_EQ(Step(), "A18") << "an eighth more";
  EXPECT_EQ(Step(), "A1 B16");
  EXPECT_EQ(Step(), "A1 B3");
}

TEST_F(SchedulerTest, NoStepHasMoreRowsThanPromised) {
  constexpr Scheduler::Options kOptions = {.max_sequences = 3, .group_rows = 16};
  scheduler_.emplace(kOptions, kKv);
  AddGenerate("A", 1);
  AddGenerate("B", 1);
  Step();
  AddGenerate("C", 18);
  EXPECT_EQ(Step(), "A1 B1 C18");
  EXPECT_EQ(kOptions.MaxStepRows(), 21);
}

TEST_F(SchedulerTest, AnInterTokenLatencyTargetBoundsTheGroupBesideDecodingRows) {
  Init(4, 128, {.page_tokens = 4, .num_pages = 1000, .page_bytes = 1}, absl::Milliseconds(100));
  AddGenerate("A", 128, /*max_new_tokens=*/50);
  EXPECT_EQ(Step(absl::Seconds(9)), "A128") << "nobody waits for a token";
  AddGenerate("B", 500);
  EXPECT_EQ(Step(absl::Milliseconds(200)), "A1 B128");
  EXPECT_EQ(Step(absl::Milliseconds(50)), "A1 B64");
  EXPECT_EQ(Step(absl::Milliseconds(100)), "A1 B128");
  EXPECT_EQ(Step(), "A1 B128");
}

TEST_F(SchedulerTest, ScoringYieldsToDecodingForAsLongAsItTook) {
  Init(8, 8);
  AddGenerate("A", 1, /*max_new_tokens=*/50);
  EXPECT_EQ(Step(), "A1");
  AddScore("S", /*num_windows=*/4, /*rows=*/8);
  EXPECT_EQ(Step(absl::Milliseconds(100)), "A1 S8");
  EXPECT_EQ(Step(absl::Milliseconds(40)), "A1");
  AddGenerate("B", 8);
  EXPECT_EQ(Step(absl::Milliseconds(50)), "A1 B8") << "prompts do not wait with it";
  EXPECT_EQ(Step(absl::Milliseconds(40)), "A1 B1");
  EXPECT_EQ(Step(absl::Milliseconds(100)), "A1 B1 S8");
  EXPECT_EQ(Step(absl::Milliseconds(99)), "A1 B1");
  Remove("A");
  Remove("B");
  EXPECT_EQ(Step(), "S8") << "there is nobody to yield to";
}

TEST_F(SchedulerTest, PromptLongerThanAStepIsChunked) {
  Init(4, 8);
  AddGenerate("A", 20);
  EXPECT_EQ(Step(), "A8");
  EXPECT_EQ(Step(), "A8");
  EXPECT_EQ(Step(), "A4");
  EXPECT_EQ(Step(), "A1");
}

TEST_F(SchedulerTest, NoMoreSequencesThanSlots) {
  Init(2, 8);
  AddGenerate("A", 1);
  AddGenerate("B", 1);
  AddGenerate("C", 1);
  EXPECT_EQ(Step(), "A1 B1");
  EXPECT_EQ(Step(), "A1 B1");
  Remove("A");
  EXPECT_EQ(Step(), "B1 C1");
}

TEST_F(SchedulerTest, AWindowThatGivesItsLastLogitsSharesNoStep) {
  Init(/*max_sequences=*/4, /*group_rows=*/8);
  AddGenerate("A", 2);
  AddGenerate("B", 4);
  AddScore("P", /*num_windows=*/1, /*rows=*/10, /*alone=*/true);
  AddGenerate("C", 1);
  EXPECT_EQ(Step(), "A2 B4") << "it does not begin beside others, and nobody overtakes it";
  EXPECT_EQ(Step(), "P8");
  EXPECT_EQ(Step(), "P2");
  EXPECT_EQ(Step(), "A1 B1 C1");
}

TEST_F(SchedulerTest, AWindowThatRunsAloneWaitsForASlotLikeAnyOther) {
  Init(2, 8);
  AddGenerate("A", 1);
  AddGenerate("B", 1);
  AddScore("P", 1, 3, /*alone=*/true);
  EXPECT_EQ(Step(), "A1 B1");
  EXPECT_EQ(Step(), "A1 B1");
  Remove("B");
  EXPECT_EQ(Step(), "P3");
  EXPECT_EQ(Step(), "A1");
}

TEST_F(SchedulerTest, NothingToComputeIsAnEmptyStep) {
  Init(2, 8);
  EXPECT_EQ(Step(), "");
  AddGenerate("A", 1);
  Remove("A");
  EXPECT_EQ(Step(), "");
}

TEST_F(SchedulerTest, PagesForAllThatASequenceCanNeedAreTakenInItsFirstStep) {
  Init(4, 8);
  AddGenerate("A", 6, /*max_new_tokens=*/10);  // 15 positions: the last token has none
  EXPECT_EQ(scheduler_->used_pages(), 0);
  Step();
  EXPECT_EQ(scheduler_->used_pages(), 4);
  for (int i = 0; i < 9; ++i) Step();
  EXPECT_EQ(scheduler_->used_pages(), 4);
  Remove("A");
  EXPECT_EQ(scheduler_->used_pages(), 0);
}

TEST_F(SchedulerTest, ARequestThatWaitsForPagesIsNotOvertaken) {
  Init(8, 64, {.page_tokens = 4, .num_pages = 10, .page_bytes = 1});
  AddGenerate("A", 21, 4);  // 6 pages
  AddGenerate("B", 21, 4);  // 6 pages: does not fit beside A
  AddGenerate("C", 1, 4);   // 1 page: would fit
  EXPECT_EQ(Step(), "A21");
  EXPECT_EQ(Step(), "A1");
  Remove("A");
  EXPECT_EQ(Step(), "B21 C1");
}

TEST_F(SchedulerTest, ScoreRequestsTakeTurns) {
  Init(8, 8);
  AddScore("S", /*num_windows=*/5, /*rows=*/4);
  AddScore("T", 2, 4);
  EXPECT_EQ(Step(), "S4 T4");
  EXPECT_EQ(Step(), "S4 T4");
  EXPECT_EQ(Step(), "S4 S4");
  EXPECT_EQ(Step(), "S4");
  EXPECT_EQ(Step(), "");
}

TEST_F(SchedulerTest, ACompletionWaitsForOneWindowOfAScoreRequestNotForAll) {
  Init(8, 8);
  AddScore("S", 100, 8);
  EXPECT_EQ(Step(), "S8");
  AddGenerate("A", 2);
  EXPECT_EQ(Step(), "S8");
  EXPECT_EQ(Step(), "A2 S6");
  EXPECT_EQ(Step(), "A1 S2 S6");
}

TEST_F(SchedulerTest, WindowsOfOneRequestShareAStep) {
  Init(8, 64);
  AddScore("S", 3, 5);
  EXPECT_EQ(Step(), "S5 S5 S5");
}

TEST_F(SchedulerTest, PausedRequestsComputeNothingAndHoldUpNobody) {
  Init(8, 8);
  AddGenerate("A", 1);
  AddScore("S", 9, 2);
  AddGenerate("B", 12);
  EXPECT_EQ(Step(), "A1 S2 B5") << "B has begun and has rows left";
  for (const char* name : {"A", "B", "S"}) Get(name).Pause(absl::UnixEpoch());
  const int held = scheduler_->used_pages();
  EXPECT_EQ(Step(), "");
  AddGenerate("C", 3);
  EXPECT_EQ(Step(), "C3");
  EXPECT_EQ(scheduler_->used_pages(), held + 2);
  Get("A").TransitionTo(RequestState::kRunning);
  Get("S").TransitionTo(RequestState::kRunning);
  EXPECT_EQ(Step(), "A1 C1 S2 S2 S2 S2");
  Get("B").TransitionTo(RequestState::kRunning);
  EXPECT_EQ(Step(), "A1 C1 B7 S2");
}

TEST_F(SchedulerTest, RemovingARequestFreesAllItsWindows) {
  Init(8, 8);
  AddScore("S", 20, 5);
  Step();
  EXPECT_GT(scheduler_->used_pages(), 0);
  Remove("S");
  EXPECT_EQ(scheduler_->used_pages(), 0);
  EXPECT_EQ(Step(), "");
}

TEST_F(SchedulerTest, ChunkSamplesOnlyAfterTheLastPromptRow) {
  Init(2, 4);
  AddGenerate("A", 6);
  ScheduledStep step;
  scheduler_->NextStep(&step);
  EXPECT_FALSE(step.batch.chunks[0].sample.has_value());
  step.chunks[0].sequence->Advance(4);
  scheduler_->NextStep(&step);
  const model::Chunk& last = step.batch.chunks[0];
  EXPECT_EQ(last.first_position, 4);
  ASSERT_TRUE(last.sample.has_value());
  EXPECT_EQ(last.sample->position, 6);
  EXPECT_EQ(last.sample->history.size(), 6u);
}

TEST_F(SchedulerTest, RowsBeforeTheFirstScoredTokenHaveNoTarget) {
  Init(2, 4);
  AddScore("S", 1, 5);
  const Sequence window(&Get("S"), 0, {.tokens = Range(10, 6), .first_scored = 3},
                        {.pages = {0, 1}, .kept = {}, .cached = {}});
  EXPECT_EQ(window.num_pending(), 5);
  EXPECT_FALSE(window.NextChunk(2).score.has_value()) << "no row of it has a target";
  const model::Chunk chunk = window.NextChunk(5);
  ASSERT_TRUE(chunk.score.has_value());
  const std::vector<TokenId> targets(chunk.score->targets.begin(), chunk.score->targets.end());
  EXPECT_EQ(targets, (std::vector<TokenId>{model::kNoTarget, model::kNoTarget, 13, 14, 15}));
}

TEST(RequestStateDeathTest, IllegalTransitionsDie) {
  LiveRequest request(Request{}, Sink{}, absl::UnixEpoch(), model::ModelInfo{}, nullptr);
  EXPECT_DEATH(request.TransitionTo(RequestState::kPaused), "0 -> 2");
  request.TransitionTo(RequestState::kRunning);
  EXPECT_DEATH(request.TransitionTo(RequestState::kQueued), "1 -> 0");
  request.TransitionTo(RequestState::kEnded);
  EXPECT_DEATH(request.TransitionTo(RequestState::kRunning), "3 -> 1");
}

}  // namespace
}  // namespace olmoe::engine
