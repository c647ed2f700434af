// 64 streams while the routing plan is swapped as fast as it goes.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "glog/logging.h"
#include "server/routing/controller.h"
#include "tests/engine/harness.h"

namespace olmoe::engine {
namespace {

constexpr int kStreams = 64;
constexpr int kPrompts = 8;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define OLMOE_IS_SLOW 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define OLMOE_IS_SLOW 1
#endif
#endif

// OLMOE_SWAPS, or what takes seconds.
int NumSwaps() {
#ifdef OLMOE_IS_SLOW
  int swaps = 3000;
#else
  int swaps = 100'000;
#endif
  const char* text = std::getenv("OLMOE_SWAPS");
  if (text != nullptr) CHECK(absl::SimpleAtoi(text, &swaps) && swaps > 0) << text;
  return swaps;
}

routing::ArmSpec Arm(uint32_t k, uint32_t weight, bool analyze = false) {
  routing::ArmSpec arm;
  arm.arm_id = absl::StrCat("k", k);
  arm.weight = weight;
  arm.policy.policy_id = arm.arm_id;
  arm.policy.apply = routing::Rule{routing::TopK{k}};
  if (k % 4 == 0) arm.policy.apply->adjust.noise = routing::Noise{0.5};
  if (k % 3 == 0) arm.policy.decode = routing::Rule{routing::Expression{"rank <= 2 || p > 0.2"}};
  if (analyze) arm.policy.analyze = routing::Rule{routing::TopK{3}};
  return arm;
}

routing::PlanSpec Plan(std::vector<routing::ArmSpec> arms, std::string salt = "") {
  routing::PlanSpec plan;
  plan.arms = std::move(arms);
  plan.salt = std::move(salt);
  return plan;
}

// No policy is in two plans, so a reply gives away its plan.
const std::array<routing::PlanSpec, 5>& Plans() {
  static const auto* const plans = new std::array<routing::PlanSpec, 5>{
      Plan({Arm(1, 1)}),
      Plan({Arm(3, 1, /*analyze=*/true)}),
      Plan({Arm(4, 50), Arm(5, 50)}, "two"),
      Plan({Arm(6, 98), Arm(7, 2)}, "few"),
      Plan({Arm(8, 1)}),
  };
  return *plans;
}

std::vector<TokenId> Prompt(int index) { return Range(index, 1 + index % 5); }

GenerateWork Work(int prompt) {
  GenerateWork work;
  work.prompt = Prompt(prompt);
  work.max_new_tokens = 1 + prompt;
  work.sampling = {.temperature = 1, .seed = static_cast<uint64_t>(prompt)};
  work.logprobs = true;
  work.trace = {.experts = true, .weights = true};
  return work;
}

std::shared_ptr<const routing::RecordedRouting> ReplayOf(const RoutingTrace& trace,
                                                         routing::ReplayWeights mode) {
  return std::make_shared<const routing::RecordedRouting>(
      routing::Replay{.num_positions = static_cast<uint64_t>(trace.num_positions),
                      .num_layers = static_cast<uint64_t>(trace.num_layers),
                      .counts = trace.counts,
                      .experts = trace.experts,
                      .weights = trace.weights,
                      .mode = mode});
}

// Solo runs, by prompt and policy.
class SoloReplies {
 public:
  SoloReplies() {
    Add(Plan({Arm(2, 1)}));  // the model's own k, from which the storm starts
    for (const routing::PlanSpec& plan : Plans()) Add(plan);
  }
  struct Solo {
    std::string fingerprint;
    // Its routing. All policies here have the same weight mode, so live weights do under each.
    std::shared_ptr<const routing::RecordedRouting> live, recorded;
  };
  const std::string& Of(int prompt, const routing::RoutingPolicy& policy) const {
    return replies_.at({prompt, policy.digest()}).fingerprint;
  }
  // That of any policy.
  const Solo& AnyOf(int prompt, std::mt19937& random) const {
    const auto begin = replies_.lower_bound({prompt, ""});
    const auto end = replies_.lower_bound({prompt + 1, ""});
    return std::next(begin, static_cast<ptrdiff_t>(random() % std::distance(begin, end)))->second;
  }
  // Distinct replies to a prompt.
  size_t NumDistinct(int prompt) const {
    std::set<std::string> distinct;
    for (const auto& [key, reply] : replies_) {
      if (key.first == prompt) distinct.insert(reply.fingerprint);
    }
    return distinct.size();
  }

 private:
  void Add(const routing::PlanSpec& plan) {
    Harness alone;
    for (const routing::ArmSpec& arm : plan.arms) {
      const auto policy = routing::RoutingPolicy::Create(
          arm.policy, alone.model.info().router_shape(), nullptr, "policy");
      for (int prompt = 0; prompt < kPrompts; ++prompt) {
        Request request = alone.MakeRequest(Work(prompt));
        request.assignment.policy = policy.value();
        const Reply reply = alone.Run(std::move(request));
        replies_[{prompt, policy.value()->digest()}] = {
            .fingerprint = Fingerprint(reply),
            .live = ReplayOf(reply.trace, routing::ReplayWeights::kLive),
            .recorded = ReplayOf(reply.trace, routing::ReplayWeights::kRecorded)};
      }
    }
  }

  std::map<std::pair<int, std::string>, Solo> replies_;
};

// The part of a server that a swap meets: admission, engine, controller. Thread-safe.
struct Storm {
  Storm() {
    engine = Engine::Create({.max_batch_sequences = 48, .max_batch_tokens = 128}, &model, nullptr);
  }
  ~Storm() { engine.reset(); }  // before the controller: requests pin its plans

  testing::FakeModel model;
  routing::RoutingController controller{{.shape = model.info().router_shape()}};
  std::unique_ptr<Engine> engine;
  std::atomic<uint64_t> published = 1;  // a generation whose patch has returned
  std::atomic<bool> over = false;
};

// One client: a request after the other, each compared with the solo run of its stamp.
class Stream {
 public:
  Stream(unsigned seed, Storm* storm, const SoloReplies* solo)
      : random_(seed), storm_(storm), solo_(solo) {}

  void Run() {
    do {
      Send();
    } while (!storm_->over && !::testing::Test::HasFatalFailure());
  }

  // What each request was stamped with.
  struct Stamp {
    uint64_t generation;
    std::string arm_id;
  };
  const std::vector<Stamp>& stamps() const { return stamps_; }

 private:
  void Send() {
    const int prompt = static_cast<int>(random_() % kPrompts);
    const uint64_t published = storm_->published;
    Request request;
    request.request_id = "r";
    request.work = Work(prompt);
    request.pin = storm_->controller.slot().Pin();
    request.assignment = request.pin->Assign(absl::StrCat(random_() % 1000), "r");
    const auto policy = request.assignment.policy;
    const uint64_t generation = request.pin->generation();
    ASSERT_GE(generation, published) << "admitted after a patch, with the plan before it";
    ASSERT_GE(generation, stamps_.empty() ? 0 : stamps_.back().generation) << "went back";
    stamps_.push_back({generation, request.assignment.arm_id});
    std::string expected = solo_->Of(prompt, *policy);
    if (random_() % 4 == 0) {  // the routing of another run, whatever the plan is
      const SoloReplies::Solo& solo = solo_->AnyOf(prompt, random_);
      request.assignment.replay = random_() % 2 == 0 ? solo.live : solo.recorded;
      expected = solo.fingerprint;
    }
    const auto sink = std::make_shared<RecordingSink>();
    const auto handle = SubmitTo(storm_->engine.get(), std::move(request), sink);
    ASSERT_TRUE(handle.ok()) << handle.status();
    ASSERT_EQ(Fingerprint(sink->AwaitDone()), expected);
  }

  std::mt19937 random_;
  Storm* const storm_;
  const SoloReplies* const solo_;
  std::vector<Stamp> stamps_;
};

// Swaps between the plans at random, and on until enough generations had requests when they were
// replaced: how fast the streams are is up to the machine. The plan of each generation from 2 on.
std::vector<size_t> Swap(int swaps, Storm* storm, std::vector<absl::Duration>* blocked) {
  std::mt19937 random(1);
  std::vector<size_t> plan_of_generation;
  size_t plan = 0;
  constexpr int kMet = 100;
  for (int i = 0, met = 0; i < swaps || met < kMet; ++i) {
    plan = (plan + 1 + random() % (Plans().size() - 1)) % Plans().size();
    const auto result = storm->controller.Patch(Plans()[plan], {});
    CHECK(result.ok()) << result.status();
    CHECK(result->changed);
    if (result->in_flight_on_previous > 0) ++met;
    plan_of_generation.push_back(plan);
    blocked->push_back(result->swap_duration);
    storm->published = result->current->generation();
  }
  return plan_of_generation;
}

void ExpectArmsOfTheirPlans(const std::vector<Stream::Stamp>& stamps,
                            const std::vector<size_t>& plan_of_generation) {
  for (const Stream::Stamp& stamp : stamps) {
    if (stamp.generation == 1) continue;
    const auto& arms = Plans()[plan_of_generation.at(stamp.generation - 2)].arms;
    const bool found = std::ranges::any_of(
        arms, [&](const routing::ArmSpec& arm) { return arm.arm_id == stamp.arm_id; });
    ASSERT_TRUE(found) << stamp.arm_id << " in generation " << stamp.generation;
  }
}

TEST(SwapStormTest, EveryReplyIsTheSoloRunOfItsStampAndGenerationsNeverGoBack) {
  const SoloReplies solo;
  for (int prompt = 0; prompt < kPrompts; ++prompt) {
    ASSERT_EQ(solo.NumDistinct(prompt), 8u) << "prompt " << prompt << " hides a mix-up";
  }
  Storm storm;
  std::vector<Stream> streams;
  for (unsigned i = 0; i < kStreams; ++i) streams.emplace_back(i, &storm, &solo);
  std::vector<std::thread> threads;
  for (Stream& stream : streams) threads.emplace_back([&stream] { stream.Run(); });
  std::vector<absl::Duration> blocked;
  const std::vector<size_t> plan_of_generation = Swap(NumSwaps(), &storm, &blocked);
  storm.over = true;
  for (std::thread& thread : threads) thread.join();

  size_t requests = 0;
  std::set<uint64_t> generations;
  for (const Stream& stream : streams) {
    requests += stream.stamps().size();
    for (const Stream::Stamp& stamp : stream.stamps()) generations.insert(stamp.generation);
    ExpectArmsOfTheirPlans(stream.stamps(), plan_of_generation);
  }
  EXPECT_GE(generations.size(), 100u);
  EXPECT_TRUE(storm.controller.slot().Draining().empty());
  std::ranges::sort(blocked);
  const absl::Duration p99 = blocked[blocked.size() * 99 / 100];
  std::printf(
      "%zu swaps, %zu requests on %zu generations; admission blocked: median %s, p99 %s, max %s\n",
      blocked.size(), requests, generations.size(),
      absl::FormatDuration(blocked[blocked.size() / 2]).c_str(), absl::FormatDuration(p99).c_str(),
      absl::FormatDuration(blocked.back()).c_str());
}

}  // namespace
}  // namespace olmoe::engine
