// Many clients at once, each doing as it likes.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "glog/logging.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_requests.h"
#include "tests/engine/resumer.h"
#include "tests/engine/tiny_tokenizer.h"

namespace olmoe::engine {
namespace {

constexpr int kClients = 16;
constexpr int kRequestsPerClient = 320;

struct Tally {
  std::atomic<int> answered = 0;
  std::atomic<int> cancelled = 0;
  std::atomic<int> refused = 0;
};

// Sends requests, a few at a time, cancelling one in ten and reading one in ten slowly, and
// compares each reply with its solo run.
class Client {
 public:
  Client(unsigned seed, Harness* harness, Resumer* resumer, const std::vector<Specimen>* specimens,
         Tally* tally)
      : random_(seed), harness_(harness), resumer_(resumer), specimens_(specimens), tally_(tally) {}

  void Run() {
    for (int i = 0; i < kRequestsPerClient; ++i) {
      Send();
      if (outstanding_.size() >= 1 + random_() % 8) FinishOldest();
    }
    while (!outstanding_.empty()) FinishOldest();
  }

 private:
  struct Outstanding {
    const Specimen* specimen;
    Submitted submitted;
    bool cancelled;
  };

  void Send() {
    const Specimen& specimen = (*specimens_)[random_() % specimens_->size()];
    const auto sink = std::make_shared<RecordingSink>();
    const int reader = resumer_->NewReader();
    if (random_() % 10 == 0) sink->flow = PauseNowAndThen(resumer_, reader);
    outstanding_.push_back({&specimen, SubmitUntilAccepted(specimen, sink),
                            /*cancelled=*/random_() % 10 == 0});
    resumer_->SetHandle(reader, outstanding_.back().submitted.handle);
    const Outstanding& any = outstanding_[random_() % outstanding_.size()];
    if (any.cancelled) harness_->engine->Cancel(any.submitted.handle, absl::CancelledError(""));
  }

  Submitted SubmitUntilAccepted(const Specimen& specimen,
                                const std::shared_ptr<RecordingSink>& sink) {
    while (true) {
      const auto handle =
          SubmitTo(harness_->engine.get(), harness_->MakeRequest(specimen.work, specimen.k), sink);
      if (handle.ok()) return {*handle, sink};
      CHECK_EQ(handle.status().code(), absl::StatusCode::kResourceExhausted);
      ++tally_->refused;
      if (outstanding_.empty()) {
        std::this_thread::yield();
      } else {
        FinishOldest();
      }
    }
  }

  void FinishOldest() {
    const Outstanding oldest = outstanding_.front();
    outstanding_.erase(outstanding_.begin());
    const Reply reply = oldest.submitted.sink->AwaitDone();
    if (reply.completion.status.ok()) {
      ++tally_->answered;
      ASSERT_EQ(Fingerprint(reply), Fingerprint(oldest.specimen->solo));
    } else {
      ++tally_->cancelled;
      ASSERT_TRUE(oldest.cancelled) << reply.completion.status;
      ASSERT_TRUE(IsBeginningOf(reply, oldest.specimen->solo));
    }
  }

  std::mt19937 random_;
  Harness* const harness_;
  Resumer* const resumer_;
  const std::vector<Specimen>* const specimens_;
  Tally* const tally_;
  std::vector<Outstanding> outstanding_;
};

TEST(StressTest, EveryAcceptedRequestEndsOnceAndLeavesNothing) {
  const auto tokenizer = MakeTinyTokenizer();
  const testing::FakeModelOptions model = {.vocab_size = kTinyVocabSize,
                                           .max_context = 256,
                                           .num_pages = 150,
                                           .eos_token_id = kTokenEnd};
  const std::vector<Specimen> specimens = RandomSpecimens(64, /*seed=*/3, model, tokenizer.get());
  Harness harness({.model = model,
                   .engine = {.max_batch_sequences = 12, .max_batch_tokens = 96, .max_queue = 24},
                   .tokenizer = tokenizer.get()});
  Resumer resumer(harness.engine.get());
  Tally tally;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kClients; ++i) {
    threads.emplace_back([&, i] { Client(i, &harness, &resumer, &specimens, &tally).Run(); });
  }
  for (int i = 0; i < 1000; ++i) {
    const EngineStatus status = harness.engine->Status();
    EXPECT_LE(status.queued_requests, 24);
    EXPECT_EQ(static_cast<size_t>(status.running_requests + status.queued_requests),
              status.requests.size());
    EXPECT_LE(status.kv_used_bytes, status.kv_capacity_bytes);
    std::this_thread::yield();
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(tally.answered + tally.cancelled, kClients * kRequestsPerClient);
  EXPECT_GT(tally.answered, kClients * kRequestsPerClient / 2);
  EXPECT_GT(tally.cancelled, 0);
  EXPECT_GT(tally.refused, 0) << "the queue was never full";
  const EngineStatus status = harness.engine->Status();
  EXPECT_EQ(status.kv_used_bytes, 0);
  EXPECT_TRUE(status.requests.empty());
  EXPECT_EQ(harness.slot.InFlight(1), 0);
  RecordProperty("answered", tally.answered);
  RecordProperty("refused", tally.refused);
}

}  // namespace
}  // namespace olmoe::engine
