// What Step promises beside the numbers: independence of chunks, errors of single
// chunks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "server/model/checkpoint.h"
#include "server/model/load_model.h"
#include "tests/model/kernel_names.h"
#include "tests/model/sequence_runner.h"
#include "tests/support/synthetic_checkpoint.h"
#include "tests/support/temp_folder.h"

namespace olmoe::model {
namespace {

constexpr uint16_t kBFloat16NaN = 0x7fc0;
constexpr uint16_t kBFloat16Infinity = 0x7f80;

// Overwrites one bfloat16 of a tensor of a checkpoint.
void Patch(const std::string& folder, const std::string& tensor, size_t element, uint16_t bits) {
  const auto checkpoint = Checkpoint::Open(folder);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  for (const TensorInfo& info : (*checkpoint)->tensors()) {
    if (info.name != tensor) continue;
    std::fstream file((std::filesystem::path(folder) / info.file),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(info.offset + element * sizeof(bits)));
    file.write(reinterpret_cast<const char*>(&bits), sizeof(bits));
    ASSERT_TRUE(file.good());
    return;
  }
  FAIL() << "no tensor " << tensor;
}

class StepFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::SyntheticCheckpointOptions synthetic;
    config_ = synthetic.config;
    ASSERT_TRUE(testing::WriteSyntheticCheckpoint(folder_.path(), synthetic).ok());
  }

  SequenceRunner MakeRunner(DType dtype = DType::kFloat32) {
    LoadOptions options;
    options.dir = folder_.path();
    options.cpu_isa = kernels_;
    options.dtype = dtype;
    options.threads = 2;
    options.page_tokens = 4;
    options.max_batch_tokens = 64;
    options.kv_cache_bytes = 1 << 20;
    return SequenceRunner(options);
  }

  std::shared_ptr<const routing::RoutingPolicy> TopK(uint32_t k) {
    routing::PolicySpec spec;
    spec.policy_id = "k";
    spec.apply = routing::Rule{routing::TopK{k}};
    auto policy = routing::RoutingPolicy::Create(spec, config_.router_shape(), nullptr, "policy");
    EXPECT_TRUE(policy.ok()) << policy.status();
    return *policy;
  }

  static Chunk MakeChunk(std::span<const TokenId> tokens, std::span<const PageId> pages,
                         const routing::RoutingPolicy& policy) {
    Chunk chunk;
    chunk.tokens = tokens;
    chunk.pages = pages;
    chunk.policy = &policy;
    return chunk;
  }

  static SampleRequest Greedy(std::span<const TokenId> history) {
    SampleRequest request;
    request.params.temperature = 0;
    request.history = history;
    request.position = static_cast<int>(history.size());
    request.logprob = true;
    request.top = 3;
    return request;
  }

  std::string kernels_ = "auto";
  testing::TempFolder folder_;
  OlmoeConfig config_;
};

class StepTest : public StepFixture, public ::testing::WithParamInterface<std::string> {
 protected:
  StepTest() { kernels_ = GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(, StepTest, ::testing::ValuesIn(KernelNames()),
                         [](const auto& info) { return TestName(info.param); });

TEST_P(StepTest, ChunksOfOneStepFollowTheirOwnPolicies) {
  SequenceRunner runner = MakeRunner();
  const auto one = TopK(1), five = TopK(5);
  const std::vector<TokenId> tokens = {3, 1, 4, 1, 5};
  const std::vector<PageId> a = runner.TakePages(5), b = runner.TakePages(5);
  StepBatch step;
  step.chunks = {MakeChunk(tokens, a, *one), MakeChunk(tokens, b, *five)};
  for (Chunk& chunk : step.chunks) chunk.sample = Greedy(tokens);
  StepOutput output;
  ASSERT_TRUE(runner.model()->Step(step, &output).ok());
  ASSERT_EQ(output.routing.num_rows(), 10);
  for (int layer = 0; layer < config_.num_layers; ++layer) {
    for (int row = 0; row < 10; ++row) {
      EXPECT_EQ(output.routing.applied(layer, row).k, row < 5 ? 1 : 5);
    }
  }
  // And each is what it is alone.
  for (size_t i = 0; i < 2; ++i) {
    StepBatch alone;
    alone.chunks = {step.chunks[i]};
    StepOutput result;
    ASSERT_TRUE(runner.model()->Step(alone, &result).ok());
    EXPECT_EQ(result.chunks[0].sampled->token, output.chunks[i].sampled->token);
    EXPECT_NEAR(result.chunks[0].sampled->logprob, output.chunks[i].sampled->logprob, 1e-5);
  }
  EXPECT_NE(output.chunks[0].sampled->logprob, output.chunks[1].sampled->logprob);
}

TEST_P(StepTest, GivesExactlyWhatAChunkAskedFor) {
  SequenceRunner runner = MakeRunner();
  const auto policy = TopK(2);
  const std::vector<TokenId> tokens = {3, 1, 4};
  const std::vector<TokenId> targets = {1, kNoTarget, 9};
  const std::vector<PageId> a = runner.TakePages(3), b = runner.TakePages(3),
                            c = runner.TakePages(3);
  StepBatch step;
  step.chunks = {MakeChunk(tokens, a, *policy), MakeChunk(tokens, b, *policy),
                 MakeChunk(tokens, c, *policy)};
  step.chunks[1].score = ScoreRequest{targets, 4};
  step.chunks[1].router_logits = true;
  step.chunks[2].sample = Greedy(tokens);
  step.chunks[2].last_logits = true;
  StepOutput output;
  ASSERT_TRUE(runner.model()->Step(step, &output).ok());
  // The logits of the last of the three rows that have any: two are scored, one is sampled.
  const auto vocab = static_cast<size_t>(runner.info().vocab_size);
  const std::vector<float>& logits = runner.trace().logits;
  ASSERT_EQ(logits.size(), 3 * vocab);
  EXPECT_EQ(output.chunks[2].last_logits, std::vector<float>(logits.end() - vocab, logits.end()));
  EXPECT_TRUE(output.chunks[1].last_logits.empty());
  EXPECT_FALSE(output.chunks[0].sampled.has_value());
  EXPECT_TRUE(output.chunks[0].scored.empty());
  EXPECT_TRUE(output.chunks[0].router_logits.empty());
  ASSERT_EQ(output.chunks[1].scored.size(), 2u);
  EXPECT_EQ(output.chunks[1].scored[0].row, 0);
  EXPECT_EQ(output.chunks[1].scored[1].row, 2);
  EXPECT_EQ(output.chunks[1].scored[1].top.size(), 4u);
  EXPECT_EQ(output.chunks[1].router_logits.size(),
            static_cast<size_t>(config_.num_layers * 3 * config_.num_experts));
  ASSERT_TRUE(output.chunks[2].sampled.has_value());
  EXPECT_EQ(output.chunks[2].sampled->top.size(), 3u);
  // The most likely token after the last row, from both sides.
  EXPECT_EQ(output.chunks[1].scored[1].top[0].token, output.chunks[2].sampled->token);
  EXPECT_NEAR(output.chunks[1].scored[1].top[0].logprob, output.chunks[2].sampled->logprob, 1e-6);
  // The next step starts from nothing.
  step.chunks.resize(1);
  ASSERT_TRUE(runner.model()->Step(step, &output).ok());
  ASSERT_EQ(output.chunks.size(), 1u);
  EXPECT_EQ(output.routing.num_rows(), 3);
}

TEST_P(StepTest, MoreLogitRowsThanOneBlockAreAllScored) {
  SequenceRunner runner = MakeRunner();
  const auto policy = TopK(2);
  std::vector<TokenId> tokens;
  for (int i = 0; i < 32; ++i) tokens.push_back(i);
  std::vector<std::vector<TokenId>> three = {tokens, tokens, tokens};
  three.pop_back();
  const std::vector<SequenceResult> results = runner.Run(three, *policy);
  const SequenceResult alone = runner.Run({tokens}, *policy)[0];
  for (size_t i = 0; i < alone.next_logprobs.size(); ++i) {
    EXPECT_NEAR(results[1].next_logprobs[i], alone.next_logprobs[i], 1e-5);
  }
}

class StepErrorTest : public StepFixture,
                      public ::testing::WithParamInterface<std::tuple<DType, std::string>> {
 protected:
  StepErrorTest() { kernels_ = std::get<1>(GetParam()); }
  DType dtype() const { return std::get<0>(GetParam()); }
};

TEST_P(StepErrorTest, BadRouterLogitsFailTheirChunkAndNoOther) {
  constexpr TokenId kBad = 7;
  const auto policy = TopK(2);
  const std::vector<TokenId> good = {3, 1, 4, 1}, bad = {3, kBad, 4}, targets = {1, 2, 3};
  StepOutput output;
  const auto run = [&](SequenceRunner& runner, bool bad_first) {
    const std::vector<PageId> a = runner.TakePages(4), b = runner.TakePages(4);
    StepBatch step;
    if (bad_first) step.chunks.push_back(MakeChunk(bad, a, *policy));
    if (bad_first) step.chunks[0].score = ScoreRequest{targets, 0};
    step.chunks.push_back(MakeChunk(good, bad_first ? b : a, *policy));
    step.chunks.back().sample = Greedy(good);
    EXPECT_TRUE(runner.model()->Step(step, &output).ok());
    runner.Release(b);
    runner.Release(a);  // taken last, so the next step gets other pages first
    return output.chunks.back();
  };
  SequenceRunner clean = MakeRunner(dtype());
  const ChunkOutput expected = run(clean, false);
  ASSERT_TRUE(run(clean, true).status.ok());
  ASSERT_TRUE(output.chunks[0].status.ok());

  Patch(folder_.path(), "model.embed_tokens.weight",
        static_cast<size_t>(kBad * config_.hidden_size), kBFloat16NaN);
  SequenceRunner runner = MakeRunner(dtype());
  const ChunkOutput beside = run(runner, true);
  EXPECT_EQ(output.chunks[0].status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(output.chunks[0].status.message(), "layer 0: router logits are not finite");
  EXPECT_TRUE(output.chunks[0].scored.empty());
  EXPECT_EQ(output.routing.applied(0, 1).k, 0);  // the row with the bad token
  EXPECT_EQ(output.routing.applied(0, 3).k, 2);  // a row of the other chunk
  // Beside the failed chunk, and then on pages that may have held its NaN.
  for (const ChunkOutput& chunk : {beside, run(runner, false), run(runner, false)}) {
    ASSERT_TRUE(chunk.status.ok()) << chunk.status;
    EXPECT_EQ(chunk.sampled->token, expected.sampled->token);
    EXPECT_NEAR(chunk.sampled->logprob, expected.sampled->logprob,
                dtype() == DType::kFloat32 ? 1e-5 : 0.05);
  }
}

INSTANTIATE_TEST_SUITE_P(, StepErrorTest,
                         ::testing::Combine(::testing::Values(DType::kFloat32, DType::kBFloat16),
                                            ::testing::ValuesIn(KernelNames())),
                         [](const auto& info) {
                           return absl::StrCat(std::string(DTypeName(std::get<0>(info.param))), "_",
                                               TestName(std::get<1>(info.param)));
                         });

TEST_P(StepTest, TheErrorNamesTheFirstBadLayer) {
  Patch(folder_.path(), "model.layers.1.mlp.gate.weight", 0, kBFloat16Infinity);
  SequenceRunner runner = MakeRunner();
  const auto policy = TopK(2);
  const std::vector<TokenId> tokens = {3, 1};
  const std::vector<PageId> pages = runner.TakePages(2);
  StepBatch step;
  step.chunks = {MakeChunk(tokens, pages, *policy)};
  StepOutput output;
  ASSERT_TRUE(runner.model()->Step(step, &output).ok());
  EXPECT_EQ(output.chunks[0].status.message(), "layer 1: router logits are not finite");
}

TEST_P(StepTest, BadLogitsFailTheChunksThatNeedThem) {
  Patch(folder_.path(), "lm_head.weight", 5, kBFloat16NaN);
  SequenceRunner runner = MakeRunner();
  const auto policy = TopK(2);
  const std::vector<TokenId> tokens = {3, 1, 4};
  const std::vector<PageId> a = runner.TakePages(3), b = runner.TakePages(3);
  StepBatch step;
  const std::vector<PageId> c = runner.TakePages(3);
  step.chunks = {MakeChunk(tokens, a, *policy), MakeChunk(tokens, b, *policy),
                 MakeChunk(tokens, c, *policy)};
  step.chunks[1].sample = Greedy(tokens);
  step.chunks[2].last_logits = true;
  StepOutput output;
  ASSERT_TRUE(runner.model()->Step(step, &output).ok());
  EXPECT_TRUE(output.chunks[0].status.ok());
  EXPECT_EQ(output.chunks[1].status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(output.chunks[1].status.message(), "head: logits are not finite");
  EXPECT_FALSE(output.chunks[1].sampled.has_value());
  EXPECT_EQ(output.chunks[2].status.message(), "head: logits are not finite");
  EXPECT_TRUE(output.chunks[2].last_logits.empty());
}

TEST_P(StepTest, AStepWithoutChunksDoesNothing) {
  SequenceRunner runner = MakeRunner();
  StepOutput output;
  ASSERT_TRUE(runner.model()->Step(StepBatch{}, &output).ok());
  EXPECT_TRUE(output.chunks.empty());
  EXPECT_EQ(output.routing.num_rows(), 0);
}

TEST_P(StepTest, ResultsDoNotDependOnTheNumberOfThreads) {
  const std::vector<TokenId> tokens = {3, 1, 4, 1, 5, 9, 2, 6};
  std::vector<std::vector<float>> logits;
  for (const int threads : {1, 2, 3}) {
    LoadOptions options;
    options.dir = folder_.path();
    options.cpu_isa = kernels_;
    options.dtype = DType::kFloat32;
    options.threads = threads;
    SequenceRunner runner(options);
    logits.push_back(runner.Run({tokens}, *TopK(2))[0].logits);
  }
  // The reference leaves its order of summation to its libraries.
  const float tolerance = kernels_ == "aten" ? 1e-5f : 0.0f;
  EXPECT_THAT(logits[1], ::testing::Pointwise(::testing::FloatNear(tolerance), logits[0]));
  EXPECT_THAT(logits[2], ::testing::Pointwise(::testing::FloatNear(tolerance), logits[0]));
}

}  // namespace
}  // namespace olmoe::model
