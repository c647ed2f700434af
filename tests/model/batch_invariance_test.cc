// "Bit-identical whatever shares its step": random schedules of the same requests, on the
// CPU kernels, against each request alone. On a small model, or:
//   OLMOE_INVARIANCE_MODEL=DIR OLMOE_INVARIANCE_STEPS=200 batch_invariance_test
// with --gtest_filter='*bfloat16_amx' for one dtype and kernels
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/model/checkpoint.h"
#include "server/routing/router.h"
#include "tests/model/kernel_names.h"
#include "tests/model/sequence_runner.h"
#include "tests/support/synthetic_checkpoint.h"
#include "tests/support/temp_folder.h"

namespace olmoe::model {
namespace {

constexpr int kSequences = 6;
constexpr int kSteps = 2000;  // at least, that are compared for each dtype and kernels

const char* ModelFolder() { return std::getenv("OLMOE_INVARIANCE_MODEL"); }

int WantedSteps() {
  const char* steps = std::getenv("OLMOE_INVARIANCE_STEPS");
  return steps == nullptr ? kSteps : std::stoi(steps);
}

// What became of one token of a sequence: the logits after it and where it was routed.
struct TokenResult {
  std::vector<uint32_t> logits;  // bits
  std::vector<uint8_t> experts;
  std::vector<uint32_t> weights;  // bits
  bool operator==(const TokenResult&) const = default;
};

std::vector<uint32_t> Bits(std::span<const float> values) {
  std::vector<uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

// dtype and kernels.
class BatchInvarianceTest : public ::testing::TestWithParam<std::tuple<DType, std::string>> {
 protected:
  void SetUp() override {
    if (ModelFolder() == nullptr) {
      ASSERT_TRUE(testing::WriteSyntheticCheckpoint(folder_.path(), {}).ok());
    }
    const auto checkpoint = Checkpoint::Open(Folder());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const OlmoeConfig& config = (*checkpoint)->config();
    const routing::RouterShape shape = config.router_shape();
    std::mt19937 random(1);
    for (int i = 0; i < kSequences; ++i) {
      std::vector<TokenId>& tokens = tokens_.emplace_back();
      for (int length = 3 + 9 * i; length > 0; --length) {
        tokens.push_back(static_cast<TokenId>(random() % static_cast<uint32_t>(config.vocab_size)));
      }
      routing::PolicySpec spec;  // each sequence has a k of its own, and half of them a router
      spec.policy_id = "k";
      const uint32_t k = 1 + static_cast<uint32_t>(i % shape.num_experts);
      spec.apply = routing::Rule{routing::TopK{k}};
      if (i % 3 == 1) spec.apply->adjust.noise = routing::Noise{0.5};
      if (i % 3 == 2) spec.decode = routing::Rule{routing::Expression{"rank == 1 || p > 0.3"}};
      if (i >= kSequences / 2) spec.router = i % 2 == 0 ? "a" : "b";
      specs_.push_back(std::move(spec));
      replays_.push_back(i % 2 == 0 ? nullptr : MakeReplay(i, shape, random));
    }
  }

  // By weights that are drawn, in layer 0 or in layer 1.
  void AddRouters(const Model& model, routing::RouterSet* routers) const {
    std::mt19937 random(3);
    for (const int layer : {0, 1}) {
      std::vector<float> weights(static_cast<size_t>(model.info().num_experts) *
                                 static_cast<size_t>(model.info().hidden_size));
      for (float& weight : weights) weight = static_cast<float>(random() % 1000) / 1000.0F - 0.5F;
      routing::Router::Options options{.router_id = layer == 0 ? "a" : "b", .layers = {}};
      options.layers.emplace(layer, routing::RouterWeights(weights));
      options.prepared = *model.PrepareRouter(options.layers);
      ASSERT_TRUE(routers->Add(*routing::Router::Create(std::move(options))).ok());
    }
  }

  // The policies for a model, whose routers are its own.
  void MakePolicies(const Model& model) {
    routing::RouterSet routers;
    AddRouters(model, &routers);
    policies_.clear();
    for (const routing::PolicySpec& spec : specs_) {
      auto policy = routing::RoutingPolicy::Create(spec, model.info().router_shape(),
                                                   {nullptr, &routers}, "policy");
      ASSERT_TRUE(policy.ok()) << policy.status();
      policies_.push_back(*std::move(policy));
    }
  }

  // Any experts, from position 2 on; the policy routes the last positions again.
  static std::unique_ptr<routing::RecordedRouting> MakeReplay(int sequence,
                                                              const routing::RouterShape& shape,
                                                              std::mt19937& random) {
    routing::Replay replay;
    replay.first_position = 2;
    replay.num_positions = static_cast<uint64_t>(9 * sequence - 2);
    replay.num_layers = static_cast<uint64_t>(shape.num_layers);
    if (sequence % 4 == 1) replay.mode = routing::ReplayWeights::kRecorded;
    std::vector<uint8_t> ids(static_cast<size_t>(shape.num_experts));
    std::iota(ids.begin(), ids.end(), uint8_t{0});
    for (uint64_t slot = 0; slot < replay.num_positions * replay.num_layers; ++slot) {
      std::shuffle(ids.begin(), ids.end(), random);
      const uint8_t count = static_cast<uint8_t>(1 + random() % std::min<size_t>(ids.size(), 8));
      replay.counts.push_back(count);
      replay.experts.insert(replay.experts.end(), ids.begin(), ids.begin() + count);
      for (int i = 0; i < count; ++i) {
        replay.weights.push_back(static_cast<float>(random() % 1000) * 1e-3f);
      }
    }
    return std::make_unique<routing::RecordedRouting>(std::move(replay));
  }

  std::string Folder() const { return ModelFolder() == nullptr ? folder_.path() : ModelFolder(); }

  SequenceRunner MakeRunner(int threads, int page_tokens) const {
    LoadOptions options;
    options.dir = Folder();
    options.dtype = std::get<0>(GetParam());
    options.cpu_isa = std::get<1>(GetParam());
    options.threads = threads;
    options.page_tokens = page_tokens;
    options.kv_cache_bytes = ModelFolder() == nullptr ? 4 << 20 : 64 << 20;
    return SequenceRunner(options);
  }

  Chunk MakeChunk(size_t sequence, size_t first, size_t number,
                  std::span<const PageId> pages) const {
    Chunk chunk;
    chunk.tokens = std::span(tokens_[sequence]).subspan(first, number);
    chunk.first_position = static_cast<int>(first);
    chunk.pages = pages;
    chunk.policy = policies_[sequence].get();
    chunk.replay = replays_[sequence].get();
    chunk.prompt_tokens = 7;
    chunk.routing_seed = sequence;
    chunk.last_logits = true;
    return chunk;
  }

  // Of the last row of every chunk, by sequence and position.
  using Results = std::vector<std::vector<TokenResult>>;

  // Puts the sequences through steps that `take` fills: how many of `left` tokens of a
  // sequence the next step gets.
  template <typename Take>
  Results Run(SequenceRunner& runner, std::vector<size_t> order, const Take& take) {
    std::vector<std::vector<PageId>> pages(kSequences);
    std::vector<size_t> next(kSequences, 0);
    Results results(kSequences);
    for (const size_t i : order) {
      pages[i] = runner.TakePages(static_cast<int>(tokens_[i].size()));
      results[i].resize(tokens_[i].size());
    }
    for (bool more = true; more;) {
      StepBatch step;
      std::vector<size_t> sequences;
      more = false;
      for (const size_t i : order) {
        const size_t number = take(i, tokens_[i].size() - next[i]);
        if (number > 0) {
          step.chunks.push_back(MakeChunk(i, next[i], number, pages[i]));
          sequences.push_back(i);
        }
        next[i] += number;
        more |= next[i] < tokens_[i].size();
      }
      RunStep(runner, step, sequences, &results);
      ++num_steps_;
    }
    for (const size_t i : order) runner.Release(pages[i]);
    return results;
  }

  void RunStep(SequenceRunner& runner, const StepBatch& step, const std::vector<size_t>& sequences,
               Results* results) {
    StepOutput output;
    ASSERT_TRUE(runner.model()->Step(step, &output).ok());
    int row = -1;
    for (size_t i = 0; i < step.chunks.size(); ++i) {
      const Chunk& chunk = step.chunks[i];
      ASSERT_TRUE(output.chunks[i].status.ok()) << output.chunks[i].status;
      row += static_cast<int>(chunk.tokens.size());
      TokenResult& result = (*results)[sequences[i]][static_cast<size_t>(chunk.first_position) +
                                                     chunk.tokens.size() - 1];
      result.logits = Bits(output.chunks[i].last_logits);
      for (int layer = 0; layer < runner.info().num_layers; ++layer) {
        const std::span<const float> weights = output.routing.weights(layer, row);
        const auto experts = output.routing.experts(layer, row);
        result.experts.insert(result.experts.end(), experts.begin(), experts.end());
        const std::vector<uint32_t> bits = Bits(weights);
        result.weights.insert(result.weights.end(), bits.begin(), bits.end());
      }
    }
  }

  testing::TempFolder folder_;
  int num_steps_ = 0;  // that Run has made
  std::vector<std::vector<TokenId>> tokens_;
  std::vector<routing::PolicySpec> specs_;
  std::vector<std::shared_ptr<const routing::RoutingPolicy>> policies_;  // of the newest runner
  std::vector<std::unique_ptr<routing::RecordedRouting>> replays_;  // null: the policy routes all
};

TEST_P(BatchInvarianceTest, NoBitDependsOnWhatSharesTheStep) {
  Results alone(kSequences);
  {
    SequenceRunner runner = MakeRunner(1, 16);
    MakePolicies(*runner.model());
    for (size_t i = 0; i < kSequences; ++i) {  // token by token
      alone[i] = Run(runner, {i}, [](size_t, size_t left) { return std::min<size_t>(left, 1); })[i];
    }
  }
  std::mt19937 random(2);
  for (const int page_tokens : {16, 5}) {
    SequenceRunner runner = MakeRunner(3, page_tokens);
    MakePolicies(*runner.model());
    num_steps_ = 0;
    for (int schedule = 0; num_steps_ < WantedSteps() / 2; ++schedule) {
      std::vector<size_t> order;
      for (size_t i = 0; i < kSequences; ++i) order.push_back(i);
      std::shuffle(order.begin(), order.end(), random);
      order.resize(1 + random() % kSequences);
      const Results together = Run(runner, order, [&](size_t, size_t left) {
        return std::min<size_t>(left, random() % (random() % 2 == 0 ? 3 : 50));
      });
      for (const size_t i : order) {
        for (size_t position = 0; position < tokens_[i].size(); ++position) {
          if (together[i][position].logits.empty()) continue;  // inside a chunk
          ASSERT_TRUE(together[i][position] == alone[i][position])
              << "schedule " << schedule << ", sequence " << i << ", position " << position;
        }
        ASSERT_FALSE(together[i].back().logits.empty());
      }
    }
  }
}

// A sequence that begins as another one: reads its whole pages, has a copy of the next one.
TEST_P(BatchInvarianceTest, NoBitDependsOnWhereAPromptWasComputed) {
  const size_t i = kSequences - 1;
  const size_t length = tokens_[i].size();
  for (const int page_tokens : {16, 5}) {
    SequenceRunner runner = MakeRunner(2, page_tokens);
    MakePolicies(*runner.model());
    std::vector<PageId> first = runner.TakePages(static_cast<int>(length));
    Results whole(kSequences);
    whole[i].resize(length);
    RunStep(runner, {.page_copies = {}, .chunks = {MakeChunk(i, 0, length, first)}}, {i}, &whole);
    for (size_t shared = 1; shared < length; ++shared) {
      const size_t whole_pages = shared / static_cast<size_t>(page_tokens);
      const std::vector<PageId> own =
          runner.TakePages(static_cast<int>(length) - static_cast<int>(whole_pages) * page_tokens);
      std::vector<PageId> pages(first.begin(), first.begin() + static_cast<int>(whole_pages));
      pages.insert(pages.end(), own.begin(), own.end());
      StepBatch step;
      if (shared % static_cast<size_t>(page_tokens) > 0) {
        step.page_copies.push_back({.from = first[whole_pages], .to = pages[whole_pages]});
      }
      step.chunks.push_back(MakeChunk(i, shared, length - shared, pages));
      Results continued(kSequences);
      continued[i].resize(length);
      RunStep(runner, step, {i}, &continued);
      ASSERT_FALSE(continued[i].back().logits.empty());
      ASSERT_TRUE(continued[i].back() == whole[i].back()) << shared << " of " << page_tokens;
      runner.Release(own);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, BatchInvarianceTest,
                         ::testing::Combine(::testing::Values(DType::kFloat32, DType::kBFloat16),
                                            ::testing::ValuesIn(CpuKernelNames())),
                         [](const auto& info) {
                           return absl::StrCat(std::string(DTypeName(std::get<0>(info.param))), "_",
                                               TestName(std::get<1>(info.param)));
                         });

}  // namespace
}  // namespace olmoe::model
