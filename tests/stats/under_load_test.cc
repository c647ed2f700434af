// Statistics of a real engine while many clients, patches and readers are at it.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/engine/engine.h"
#include "server/routing/controller.h"
#include "server/stats/stats_cursors.h"
#include "tests/engine/recording_sink.h"
#include "tests/stats/counts.h"
#include "tests/support/fake_model.h"

namespace olmoe::stats {
namespace {

using engine::RecordingSink;

constexpr int kLayers = 3, kExperts = 8;
constexpr int kClients = 4;
constexpr int kSnapshots = 1000;
// Its requests are cancelled now and then, so their traces may lack the last step.
constexpr char kCutOff[] = "cut-off";

routing::PolicySpec Policy(const std::string& id, routing::Rule apply) {
  routing::PolicySpec spec;
  spec.policy_id = id;
  spec.apply = std::move(apply);
  return spec;
}

// Plan number `i`: every arm has another policy than in the plans around it, one analyzes,
// one has its rules by layer.
routing::PlanSpec Plan(int i) {
  const uint32_t k = 1 + static_cast<uint32_t>(i) % kExperts;
  routing::PlanSpec plan;
  plan.salt = absl::StrCat("salt-", i);
  plan.arms.push_back({"fixed", Policy(absl::StrCat("k", k), {routing::TopK{k}, {}}), 3, false});
  plan.arms.push_back(
      {"mass",
       Policy(absl::StrCat("p", i % 13), {routing::TopP{0.3 + 0.05 * (i % 13), {1, 5}}, {}}), 3,
       false});
  routing::PolicySpec layered;
  layered.policy_id = "layered";
  layered.analyze = routing::Rule{routing::MinP{0.2, {2, 6}}, {}};
  layered.layer_overrides.push_back({{1}, routing::Rule{routing::TopK{k}, {}}, std::nullopt});
  plan.arms.push_back({"layered", layered, 3, false});
  plan.arms.push_back({kCutOff, Policy("cut", {routing::TopP{0.8}, {}}), 1, false});
  return plan;
}

// What the replies say was run.
struct Replies {
  std::map<std::string, std::vector<std::vector<uint64_t>>> expert_tokens;  // arm [layer][expert]
  std::map<std::string, uint64_t> tokens;
  uint64_t activations = 0;

  void AddTrace(const std::string& arm, const engine::RoutingTrace& trace) {
    auto& counts = expert_tokens[arm];
    counts.resize(kLayers, std::vector<uint64_t>(kExperts));
    size_t expert = 0;
    for (size_t i = 0; i < trace.counts.size(); ++i) {
      for (int k = 0; k < trace.counts[i]; ++k) {
        ++counts[i % kLayers][trace.experts[expert++]];
      }
    }
    tokens[arm] += static_cast<uint64_t>(trace.num_positions);
  }
  void Add(const std::string& arm, const engine::Reply& reply) {
    activations += reply.completion.expert_activations;
    AddTrace(arm, reply.trace);
    for (const auto& [index, window] : reply.windows) AddTrace(arm, window.trace);
  }
  void Add(const Replies& other) {
    activations += other.activations;
    for (const auto& [arm, count] : other.tokens) tokens[arm] += count;
    for (const auto& [arm, layers] : other.expert_tokens) {
      auto& counts = expert_tokens[arm];
      counts.resize(kLayers, std::vector<uint64_t>(kExperts));
      for (int layer = 0; layer < kLayers; ++layer) {
        for (int e = 0; e < kExperts; ++e) counts[layer][e] += layers[layer][e];
      }
    }
  }
};

class UnderLoadTest : public ::testing::Test {
 protected:
  UnderLoadTest()
      : model_({.num_layers = kLayers, .num_experts = kExperts}),
        controller_({.shape = model_.info().router_shape()}),
        cursors_(&stats_, {}),
        engine_(engine::Engine::Create(
            {.max_batch_sequences = 8, .max_batch_tokens = 48}, &model_, nullptr,
            [this](const std::vector<engine::StepRows>& rows, const routing::RoutingRecord& record,
                   absl::Duration) {
              stats_.AddStep(rows, record);
              absl::MutexLock lock(&mu_);
              ++steps_;
            })) {}

  void Patch(int i) {
    const auto patched = controller_.Patch(Plan(i), {});
    ASSERT_TRUE(patched.ok()) << patched.status();
  }

  // So that no two snapshots are of one moment, however the machine schedules.
  void AwaitSteps(int count) {
    absl::MutexLock lock(&mu_);
    const int64_t enough = steps_ + count;
    const auto done = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return steps_ >= enough || stop_; };
    mu_.Await(absl::Condition(&done));
  }
  void Stop() {
    absl::MutexLock lock(&mu_);
    stop_ = true;
  }

  engine::Request RandomRequest(std::mt19937* random) {
    const auto below = [&](int bound) { return static_cast<int>((*random)() % bound); };
    const auto tokens = [&](int count) {
      std::vector<TokenId> ids(count);
      for (TokenId& id : ids) id = below(64);
      return ids;
    };
    engine::Request request;
    request.request_id = "load";
    request.pin = controller_.slot().Pin();
    request.assignment = request.pin->Assign(absl::StrCat((*random)()), "");
    if (below(3) == 0) {
      engine::ScoreWork work;
      work.trace.experts = true;
      for (int i = 1 + below(3); i > 0; --i) {
        work.windows.push_back({tokens(2 + below(30)), 1});
      }
      request.work = std::move(work);
    } else {
      engine::GenerateWork work;
      work.trace.experts = true;
      work.prompt = tokens(1 + below(20));
      work.max_new_tokens = 1 + below(12);
      request.work = std::move(work);
    }
    return request;
  }

  // Two requests at a time until `stop_`.
  Replies RunClient(unsigned seed) {
    std::mt19937 random(seed);
    Replies replies;
    while (!stop_) {
      std::vector<std::pair<std::string, std::shared_ptr<RecordingSink>>> running;
      for (int i = 0; i < 2; ++i) {
        engine::Request request = RandomRequest(&random);
        const std::string arm = request.assignment.arm_id;
        const auto sink = std::make_shared<RecordingSink>();
        const auto handle = engine::SubmitTo(engine_.get(), std::move(request), sink);
        EXPECT_TRUE(handle.ok()) << handle.status();
        if (arm == kCutOff) {
          AwaitSteps(2);  // so that some of it has been counted
          engine_->Cancel(*handle, absl::CancelledError(""));
        }
        running.emplace_back(arm, sink);
      }
      for (const auto& [arm, sink] : running) replies.Add(arm, sink->AwaitDone());
    }
    return replies;
  }

  // A reader of its own pace: differences every so many steps, and a last one at the end.
  ArmTotals SumOfDifferences(int pace) {
    ArmTotals sum;
    StatsCursors::Position position = *cursors_.Find("", "");
    bool last = false;
    while (!last) {
      last = stopped_;
      if (!last) AwaitSteps(pace);
      const StatsReading reading = cursors_.Read(&position);
      ExpectEqualities(reading.counts);
      AddTo(reading.counts, &sum);
    }
    return sum;
  }

  testing::FakeModel model_;
  routing::RoutingController controller_;
  ExpertStats stats_{kLayers, kExperts};
  StatsCursors cursors_;
  std::atomic<bool> stop_ = false;  // clients
  std::atomic<bool> stopped_ = false;  // no request is left
  absl::Mutex mu_;
  int64_t steps_ ABSL_GUARDED_BY(mu_) = 0;
  std::unique_ptr<engine::Engine> engine_;
};

void ExpectNotBefore(const ArmTotals& later, const ArmTotals& earlier) {
  for (const auto& [key, layers] : earlier) {
    ASSERT_TRUE(later.contains(key));
    for (int layer = 0; layer < kLayers; ++layer) {
      const LayerCounts& now = later.at(key)[layer];
      EXPECT_GE(now.tokens, layers[layer].tokens);
      for (int e = 0; e < kExperts; ++e) {
        EXPECT_GE(now.expert_tokens[e], layers[layer].expert_tokens[e]);
      }
    }
  }
}

void ExpectTotalsAreThoseOfTheReplies(const ArmTotals& totals, const Replies& replies) {
  uint64_t selections = 0;
  for (const auto& [key, layers] : totals) {
    const auto& [arm, kind] = key;
    if (kind == DecisionKind::kAnalyzed) {
      EXPECT_EQ(arm, "layered");
      continue;
    }
    for (int layer = 0; layer < kLayers; ++layer) {
      selections += Selections(layers[layer]);
      if (arm == kCutOff) continue;
      EXPECT_EQ(layers[layer].tokens, replies.tokens.at(arm));
      EXPECT_EQ(layers[layer].expert_tokens, replies.expert_tokens.at(arm)[layer]);
    }
  }
  EXPECT_EQ(selections, replies.activations);
}

TEST_F(UnderLoadTest, EqualitiesHoldAtAThousandSnapshotsAndTotalsAreThoseOfTheReplies) {
  Patch(0);
  std::vector<Replies> replies(kClients);
  std::vector<ArmTotals> sums(2);
  std::vector<std::thread> clients, readers;
  for (unsigned i = 0; i < kClients; ++i) {
    clients.emplace_back([this, i, &replies] { replies[i] = RunClient(i); });
  }
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([this, i, &sums] { sums[i] = SumOfDifferences(i == 0 ? 1 : 20); });
  }
  std::thread patches([this] {
    for (int i = 1; !stop_; ++i) {
      Patch(i);
      AwaitSteps(1);
    }
  });

  ArmTotals before;
  for (int i = 0; i < kSnapshots; ++i) {
    AwaitSteps(1);
    const std::vector<ExpertCounts> snapshot = stats_.Snapshot();
    ASSERT_FALSE(snapshot.empty());
    ExpectEqualities(snapshot);
    ArmTotals totals = TotalsOf(snapshot);
    ExpectNotBefore(totals, before);
    before = std::move(totals);
    ASSERT_FALSE(HasFailure()) << "snapshot " << i;
  }

  Stop();
  patches.join();
  for (std::thread& client : clients) client.join();
  engine_->Drain(absl::InfiniteFuture());
  stopped_ = true;
  for (std::thread& reader : readers) reader.join();

  Replies all;
  for (const Replies& some : replies) all.Add(some);
  const ArmTotals totals = TotalsOf(stats_.Snapshot());
  EXPECT_EQ(totals.size(), 5u);  // four arms applied, one analyzed
  ExpectTotalsAreThoseOfTheReplies(totals, all);
  for (const ArmTotals& sum : sums) ExpectSameTotals(sum, totals);
}

}  // namespace
}  // namespace olmoe::stats
