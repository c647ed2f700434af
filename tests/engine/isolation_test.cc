// A reply depends on nothing but its request.
#include <gtest/gtest.h>

#include <set>

#include "tests/engine/harness.h"
#include "tests/engine/random_requests.h"
#include "tests/engine/resumer.h"
#include "tests/engine/tiny_tokenizer.h"

namespace olmoe::engine {
namespace {

testing::FakeModelOptions MakeModelOptions(int num_pages) {
  return {.vocab_size = kTinyVocabSize,
          .max_context = 256,
          .num_pages = num_pages,
          .eos_token_id = kTokenEnd};
}

// The fates that a request meets besides being answered.
enum Fate { kAnswered, kCancelled, kExpired, kPaused, kNumFates };

// Submits every specimen in one batch, with random fates, and compares what comes with the solo
// runs.
void RunAllTogether(const std::vector<Specimen>& specimens, unsigned seed, EngineOptions engine,
                    int num_pages, const text::Tokenizer* tokenizer) {
  std::mt19937 random(seed);
  engine.max_queue = static_cast<int>(specimens.size());
  Harness harness({.model = MakeModelOptions(num_pages), .engine = engine, .tokenizer = tokenizer});
  Resumer resumer(harness.engine.get());
  std::vector<Submitted> submitted;
  std::vector<Fate> fates;
  for (const Specimen& specimen : specimens) {
    const Fate fate = random() % 2 == 0 ? kAnswered : static_cast<Fate>(random() % kNumFates);
    Request request = harness.MakeRequest(specimen.work, specimen.k);
    const auto sink = std::make_shared<RecordingSink>();
    if (fate == kExpired) {
      request.deadline = harness.clock.Now() + absl::Milliseconds(1 + random() % 100);
    }
    const int reader = resumer.NewReader();
    if (fate == kPaused) sink->flow = PauseNowAndThen(&resumer, reader);
    submitted.push_back(harness.Submit(std::move(request), sink));
    resumer.SetHandle(reader, submitted.back().handle);
    fates.push_back(fate);
    // What has been submitted before meets its fate while this one is on its way.
    const size_t other = random() % submitted.size();
    if (fates[other] == kCancelled) {
      harness.engine->Cancel(submitted[other].handle, absl::CancelledError(""));
    }
    harness.clock.Advance(absl::Milliseconds(random() % 3));
  }
  int answered = 0;
  for (size_t i = 0; i < submitted.size(); ++i) {
    const Reply reply = submitted[i].sink->AwaitDone();
    if (reply.completion.status.ok()) {
      ++answered;
      ASSERT_EQ(Fingerprint(reply), Fingerprint(specimens[i].solo)) << "request " << i;
    } else {
      ASSERT_TRUE(fates[i] == kCancelled || fates[i] == kExpired) << reply.completion.status;
      ASSERT_TRUE(IsBeginningOf(reply, specimens[i].solo)) << "request " << i;
    }
  }
  EXPECT_GE(answered, static_cast<int>(specimens.size()) / 2);
  EXPECT_EQ(harness.engine->Status().kv_used_bytes, 0);
  EXPECT_GT(harness.model.counters().max_chunks, 1) << "nothing shared a batch";
}

TEST(IsolationTest, RepliesEqualSoloRunsWhateverSharesTheBatch) {
  const auto tokenizer = MakeTinyTokenizer();
  const std::vector<Specimen> specimens =
      RandomSpecimens(300, /*seed=*/1, MakeModelOptions(256), tokenizer.get());
  std::set<std::pair<FinishReason, bool>> endings;
  for (const Specimen& specimen : specimens) {
    for (const ChoiceEnd& choice : specimen.solo.completion.choices) {
      endings.emplace(choice.finish_reason, specimen.solo.text.empty());
    }
  }
  EXPECT_GE(endings.size(), 4u) << "the specimens are not as diverse as they should be";

  unsigned seed = 0;
  for (int sequences : {2, 7, 64}) {
    for (int tokens : {64, 100, 512}) {
      for (int num_pages : {64, 100, 1000}) {
        SCOPED_TRACE(::testing::Message() << sequences << " sequences, " << tokens << " tokens, "
                                          << num_pages << " pages");
        RunAllTogether(specimens, ++seed,
                       {.max_batch_sequences = sequences, .max_batch_tokens = tokens}, num_pages,
                       tokenizer.get());
      }
    }
  }
}

TEST(IsolationTest, SharedModelStateWouldBeNoticed) {
  // The comparison above has teeth: another policy, prompt or position gives another fingerprint.
  Harness harness;
  const std::string fingerprint = Fingerprint(harness.Run(harness.Generate({1, 2, 3}, 8)));
  EXPECT_EQ(Fingerprint(harness.Run(harness.Generate({1, 2, 3}, 8))), fingerprint);
  EXPECT_NE(Fingerprint(harness.Run(harness.Generate({1, 2, 3}, 8, /*k=*/3))), fingerprint);
  EXPECT_NE(Fingerprint(harness.Run(harness.Generate({2, 1, 3}, 8))), fingerprint);
  EXPECT_NE(Fingerprint(harness.Run(harness.Generate({3}, 8))), fingerprint);
}

}  // namespace
}  // namespace olmoe::engine
