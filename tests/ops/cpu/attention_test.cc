// Attention of every instruction set that runs here: against doubles, and bit by bit
// against itself.
#include "server/ops/cpu/attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/ops/cpu/attention_runner.h"

namespace olmoe::ops {
namespace {

class AttentionTest : public ::testing::TestWithParam<std::tuple<CpuIsa, Precision>> {
 protected:
  CpuIsa isa() const { return std::get<0>(GetParam()); }
  Precision precision() const { return std::get<1>(GetParam()); }
  // Relative error of a query and of a weight where they meet keys and values: AMX has
  // them as two bfloat16 numbers.
  double unit() const {
    return isa() == CpuIsa::kAmx && precision() == Precision::kBFloat16 ? 0x1p-16 : 0x1p-24;
  }
};

const Shape kShapes[] = {
    {2, 2, 128, 16}, {2, 2, 128, 32}, {2, 1, 64, 16}, {4, 1, 32, 48}, {3, 3, 16, 16},
    {2, 2, 8, 16},   {2, 1, 6, 1},    {4, 2, 24, 3},  {4, 1, 80, 16}, {2, 2, 10, 32},
    {1, 1, 128, 1},  {2, 2, 96, 7},   {1, 1, 2, 16},  {70, 1, 8, 16},
};

TEST_P(AttentionTest, IsTheSoftmaxAverageOfTheValues) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(Name(shape));
    const Sequence sequence(shape, 150, 7);
    Runner runner(isa(), precision(), shape, 160);
    runner.ShufflePages(3);
    const std::vector<float> found = runner.Run(sequence, {1, 1, 3, 14, 64, 1, 66});
    const std::vector<int> rows = {0, 1, 2, 4, 15, 16, 17, 31, 63, 64, 65, 82, 83, 84, 127, 149};
    EXPECT_LE(LargestError(sequence, precision(), unit(), found, rows), 1.0);
  }
}

TEST_P(AttentionTest, EveryContextUpTo300IsExact) {
  const Shape shape{1, 1, 32, 16};
  const Sequence sequence(shape, 300, 17);
  Runner runner(isa(), precision(), shape, 20);
  const std::vector<float> found = runner.Run(sequence, std::vector<int>(300, 1));
  std::vector<int> rows(300);
  std::iota(rows.begin(), rows.end(), 0);
  EXPECT_LE(LargestError(sequence, precision(), unit(), found, rows), 1.0);
}

TEST_P(AttentionTest, LongContextsStayWithinTheBound) {
  const Shape shape{1, 1, 128, 16};
  const Sequence sequence(shape, 3001, 27);
  Runner runner(isa(), precision(), shape, 190);
  runner.ShufflePages(5);
  const std::vector<float> found = runner.Run(sequence, {512, 512, 512, 512, 512, 440, 1});
  EXPECT_LE(LargestError(sequence, precision(), unit(), found, {1000, 2559, 2999, 3000}), 1.0);
}

// Typical errors are far below the bound, which adds up absolute values.
TEST_P(AttentionTest, ErrorsAreThoseOfFloat32Attention) {
  const Shape shape{1, 1, 128, 16};
  const Sequence sequence(shape, 200, 37);
  Runner runner(isa(), precision(), shape, 13);
  const std::vector<float> found = runner.Run(sequence, {200});
  double squares = 0;
  for (int d = 0; d < 128; ++d) {
    const double expected = Reference(sequence, precision(), 0, 199, 0, d).value;
    squares += std::pow(found[static_cast<size_t>(199 * 128 + d)] - expected, 2);
  }
  // Values are about 1, their average over 200 positions about 0.1. Queries rounded to
  // bfloat16 would give 3e-4.
  EXPECT_LE(std::sqrt(squares / 128), unit() > 0x1p-20 ? 2e-6 : 2e-7);
}

TEST_P(AttentionTest, HugeLogitsSaturate) {
  const Shape shape{1, 1, 32, 16};
  const Sequence sequence(shape, 100, 47, /*scale=*/60);
  Runner runner(isa(), precision(), shape, 7);
  const std::vector<float> found = runner.Run(sequence, {50, 1, 49});
  std::vector<int> rows(100);
  std::iota(rows.begin(), rows.end(), 0);
  EXPECT_LE(LargestError(sequence, precision(), unit(), found, rows), 1.0);
}

TEST_P(AttentionTest, DecodingAndEveryChunkingOf70TokensGiveTheSameBits) {
  for (const Shape& shape :
       {Shape{2, 2, 128, 16}, Shape{4, 2, 32, 32}, Shape{6, 2, 10, 3}, Shape{2, 1, 48, 16}}) {
    SCOPED_TRACE(Name(shape));
    constexpr int kTokens = 70;
    const Sequence sequence(shape, kTokens, 57);
    const auto run = [&](const std::vector<int>& chunks) {
      Runner runner(isa(), precision(), shape, kTokens);
      return Bits(runner.Run(sequence, chunks));
    };
    const std::vector<uint32_t> decoded = run(std::vector<int>(kTokens, 1));
    ASSERT_EQ(run({kTokens}), decoded);
    for (int first = 1; first < kTokens; ++first) {
      ASSERT_EQ(run({first, kTokens - first}), decoded) << first;
    }
    for (int size = 2; size < kTokens; ++size) {
      std::vector<int> chunks(static_cast<size_t>(kTokens / size), size);
      if (kTokens % size > 0) chunks.push_back(kTokens % size);
      ASSERT_EQ(run(chunks), decoded) << size;
    }
  }
}

TEST_P(AttentionTest, LongPromptsAndDecodingGiveTheSameBits) {
  const Shape shape{1, 1, 128, 16};
  const Sequence sequence(shape, 700, 67, /*scale=*/2);
  Runner whole(isa(), precision(), shape, 44), parts(isa(), precision(), shape, 44);
  parts.ShufflePages(9);
  std::vector<int> chunks = {1, 130, 300};
  chunks.resize(chunks.size() + 269, 1);
  EXPECT_EQ(Bits(whole.Run(sequence, {700})), Bits(parts.Run(sequence, chunks)));
}

TEST_P(AttentionTest, PlacesOfPagesDoNotChangeABit) {
  for (const Shape& shape : {Shape{2, 2, 64, 16}, Shape{2, 2, 64, 32}, Shape{2, 1, 6, 5}}) {
    SCOPED_TRACE(Name(shape));
    const Sequence sequence(shape, 90, 77);
    std::vector<uint32_t> first;
    for (uint32_t seed = 0; seed < 5; ++seed) {
      Runner runner(isa(), precision(), shape, 40);
      if (seed > 0) runner.ShufflePages(seed);
      const std::vector<uint32_t> found = Bits(runner.Run(sequence, {80, 10}));
      if (seed == 0) first = found;
      EXPECT_EQ(found, first) << seed;
    }
  }
}

// Products of small weights and the smallest numbers are zeros with a sign, or subnormal,
// which an instruction set may flush: but not in one chunking only.
TEST_P(AttentionTest, ZerosAndSubnormalsComeOutAlikeInEveryChunking) {
  const Shape shape{1, 1, 32, 16};
  Sequence sequence(shape, 70, 87, /*scale=*/2);
  const float kValues[] = {-0.0f, 0.0f, -1e-40f, 1e-40f, -1e-38f, -1e-36f, 1e-45f};
  for (size_t i = 0; i < sequence.values.size(); ++i) {
    sequence.values[i] = kValues[(i / 32 + i % 32 * 3) % (i % 32 < 16 ? 3 : 7)];
  }
  for (size_t i = 0; i < sequence.keys.size(); i += 5) sequence.keys[i] = 3e-39f;
  Runner single(isa(), precision(), shape, 5);
  const std::vector<uint32_t> decoded = Bits(single.Run(sequence, std::vector<int>(70, 1)));
  for (const std::vector<int>& chunks : {std::vector{70}, {1, 69}, {33, 37}, {7, 16, 47}}) {
    Runner runner(isa(), precision(), shape, 5);
    EXPECT_EQ(Bits(runner.Run(sequence, chunks)), decoded);
  }
}

// A row's sum that has become -0 would become 0 by the values, of weight 0, of later rows.
TEST_P(AttentionTest, TheSignOfAZeroDoesNotShowWhatCameInTheSameChunk) {
  const Shape shape{1, 1, 32, 16};
  Sequence sequence(shape, 40, 88);
  for (size_t i = 0; i < sequence.values.size(); ++i) {
    sequence.queries[i] = 2;
    sequence.keys[i] = i / 32 == 5 ? -4.0f : 0.0f;  // a logit of -45
    sequence.values[i] = i / 32 == 5 ? -1.2e-38f : i / 32 < 20 ? -0.0f : 0.0f;
  }
  Runner whole(isa(), precision(), shape, 3), single(isa(), precision(), shape, 3);
  EXPECT_EQ(Bits(whole.Run(sequence, {40})), Bits(single.Run(sequence, std::vector<int>(40, 1))));
}

TEST_P(AttentionTest, StoringARowLeavesTheOthersAlone) {
  for (const Shape& shape : {Shape{2, 2, 32, 16}, Shape{2, 2, 32, 32}, Shape{2, 1, 10, 3}}) {
    SCOPED_TRACE(Name(shape));
    const Sequence sequence(shape, 70, 89);
    Runner ordered(isa(), precision(), shape, 24), backward(isa(), precision(), shape, 24);
    const std::vector<float> expected = ordered.Run(sequence, {70});
    const std::vector<int32_t> pages = backward.TakePages(70);
    std::vector<float> found;
    for (int row = 69; row >= 0; --row) found = backward.Chunk(sequence, pages, row, 1);
    for (const int first : {60, 33, 17, 2}) backward.Chunk(sequence, pages, first, 9);
    found = backward.Chunk(sequence, pages, 69, 1);
    EXPECT_EQ(Bits(found), Bits({expected.end() - sequence.query_width(), expected.end()}));
  }
}

TEST_P(AttentionTest, ANaNStaysInItsSequenceAndItsFuture) {
  for (const Shape& shape : {Shape{1, 1, 32, 16}, Shape{1, 1, 32, 3}}) {
    SCOPED_TRACE(Name(shape));
    const Sequence clean(shape, 40, 97);
    Sequence bad(shape, 40, 107);
    bad.keys[20 * 32 + 3] = std::numeric_limits<float>::quiet_NaN();
    Runner alone(isa(), precision(), shape, 14);
    const std::vector<uint32_t> expected = Bits(alone.Run(clean, {39, 1}));
    Runner both(isa(), precision(), shape, 28);
    const std::vector<int32_t> pages_of_bad = both.TakePages(40);
    const std::vector<int32_t> pages = both.TakePages(40);
    std::vector<float> of_bad, found;
    for (int row = 0; row < 40; ++row) {
      for (const float value : both.Chunk(bad, pages_of_bad, row, 1)) of_bad.push_back(value);
      for (const float value : both.Chunk(clean, pages, row, 1)) found.push_back(value);
    }
    EXPECT_EQ(Bits(found), expected);
    for (size_t i = 0; i < of_bad.size(); ++i) {
      ASSERT_EQ(std::isnan(of_bad[i]), i >= 20 * 32) << i;
    }
  }
}

TEST_P(AttentionTest, AnInfiniteLogitIsNaNAsInTheReference) {
  const Shape shape{1, 1, 32, 16};
  Sequence sequence(shape, 3, 117);
  for (int d = 0; d < 32; ++d) sequence.queries[64 + static_cast<size_t>(d)] = 3e38f;
  for (int d = 0; d < 32; ++d) sequence.keys[32 + static_cast<size_t>(d)] = 3e38f;
  Runner runner(isa(), precision(), shape, 1);
  const std::vector<float> found = runner.Run(sequence, {3});
  EXPECT_TRUE(std::isnan(found[64]));
  EXPECT_FALSE(std::isnan(found[0]));
}

TEST_P(AttentionTest, PagesHoldKeysAndValuesAndNothingElse) {
  for (const Shape& shape : kShapes) {
    const CpuAttention attention(isa(), Options(shape, precision()));
    EXPECT_EQ(attention.page_bytes(),
              static_cast<size_t>(2 * shape.kv_heads * shape.head_size * shape.page_tokens *
                                  BytesPerElement(precision())));
  }
}

TEST_P(AttentionTest, APlanHasEveryRowAndKvHeadOnce) {
  for (const Shape& shape : {Shape{2, 2, 32, 16}, Shape{70, 2, 8, 16}, Shape{12, 4, 8, 16}}) {
    const CpuAttention attention(isa(), Options(shape, precision()));
    RowBatch batch;
    const std::vector<int32_t> pages = {1, 2, 3};
    batch.sequences = {{0, 1, 300, pages}, {1, 200, 5, pages}, {201, 17, 0, pages}};
    std::vector<AttentionTask> tasks;
    attention.Plan(batch, &tasks);
    std::map<std::pair<int, int>, int> positions;
    for (const AttentionTask& task : tasks) {
      for (int i = 0; i < task.num_rows; ++i) {
        const auto [at, is_new] =
            positions.insert({{task.first_row + i, task.kv_head}, task.first_position + i});
        EXPECT_TRUE(is_new);
      }
    }
    EXPECT_EQ(positions.size(), static_cast<size_t>(218 * shape.kv_heads));
    EXPECT_EQ((positions[{0, 1}]), 300);
    EXPECT_EQ((positions[{200, 0}]), 204);
    EXPECT_EQ((positions[{217, 1}]), 16);
  }
}

TEST_P(AttentionTest, APlanTakesTheCostliestSequenceFirstHeadByHeadAndLastRowsFirst) {
  const Shape shape{2, 2, 32, 16};
  const CpuAttention attention(isa(), Options(shape, precision()));
  RowBatch batch;
  const std::vector<int32_t> pages = {1, 2, 3};
  batch.sequences = {{0, 1, 30, pages}, {1, 150, 0, pages}, {151, 1, 4000, pages}};
  std::vector<AttentionTask> tasks;
  attention.Plan(batch, &tasks);
  std::vector<std::pair<int, int>> rows_and_heads;
  for (const AttentionTask& task : tasks) rows_and_heads.push_back({task.first_row, task.kv_head});
  EXPECT_THAT(rows_and_heads,
              ::testing::ElementsAreArray(std::vector<std::pair<int, int>>{{129, 0},
                                                                           {65, 0},
                                                                           {1, 0},
                                                                           {129, 1},
                                                                           {65, 1},
                                                                           {1, 1},
                                                                           {151, 0},
                                                                           {151, 1},
                                                                           {0, 0},
                                                                           {0, 1}}));
}

INSTANTIATE_TEST_SUITE_P(
    EveryIsa, AttentionTest,
    ::testing::Combine(::testing::ValuesIn(SupportedIsas()),
                       ::testing::Values(Precision::kFloat32, Precision::kBFloat16)),
    [](const auto& info) {
      std::string name(IsaName(std::get<0>(info.param)));
      std::erase(name, '-');
      return name + (std::get<1>(info.param) == Precision::kFloat32 ? "_float32" : "_bfloat16");
    });

}  // namespace
}  // namespace olmoe::ops
