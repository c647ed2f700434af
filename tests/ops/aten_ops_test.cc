// The ATen operations one by one, against plain double loops.
#include "server/ops/aten/aten_ops.h"

#include <ATen/ATen.h>
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <new>

#include "server/ops/aten/attention_block.h"

namespace olmoe::ops {
namespace {

constexpr double kFloat32Tolerance = 2e-5;
constexpr double kBFloat16Tolerance = 0.05;

OpsOptions SmallOptions(Precision precision = Precision::kFloat32) {
  OpsOptions options;
  options.threads = 2;
  options.compute = precision;
  options.num_heads = 4;
  options.num_kv_heads = 2;
  options.head_size = 6;
  options.max_positions = 512;
  options.rope_theta = 10000;
  options.rms_norm_eps = 1e-3;
  options.page_tokens = 4;
  options.num_pages = 160;
  return options;
}

std::unique_ptr<AtenOps> MakeOps(const OpsOptions& options) {
  auto ops = AtenOps::Create(options);
  EXPECT_TRUE(ops.ok()) << ops.status();
  return *std::move(ops);
}

// Runs the body of a test as the model runs a step.
void InOps(AtenOps* ops, const std::function<void()>& body) {
  const absl::Status status = ops->Run([&] {
    body();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

at::Tensor Random(at::IntArrayRef sizes, uint64_t seed, double scale = 1) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::normal(0.0, scale, sizes, generator);
}

double Value(const at::Tensor& tensor, at::IntArrayRef index) {
  at::Tensor element = tensor;
  for (const int64_t i : index) element = element.select(0, i);
  return element.item<double>();
}

double LargestDifference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

class AtenOpsTest : public ::testing::TestWithParam<Precision> {
 protected:
  double tolerance() const {
    return GetParam() == Precision::kFloat32 ? kFloat32Tolerance : kBFloat16Tolerance;
  }
};

TEST_P(AtenOpsTest, RmsNormDividesByTheRootOfTheMeanSquareAndEpsilon) {
  const auto ops = MakeOps(SmallOptions(GetParam()));
  InOps(ops.get(), [&] {
    const at::Tensor x = Random({3, 7}, 1, 0.05), weight = Random({7}, 2);
    const at::Tensor found = ops->RmsNorm(x, weight);
    EXPECT_EQ(found.scalar_type(), at::kFloat);
    const at::Tensor wide = x.to(at::kDouble);
    const at::Tensor expected =
        wide / (wide.square().mean(1, true) + 1e-3).sqrt() * weight.to(at::kDouble);
    EXPECT_LT(LargestDifference(found, expected), 1e-5);
  });
}

TEST_P(AtenOpsTest, LinearAddsItsBiasAndKeepsThePrecisionOfItsWeight) {
  const auto ops = MakeOps(SmallOptions(GetParam()));
  InOps(ops.get(), [&] {
    for (const int64_t rows : {1, 2, 5, 70}) {
      AtenOps::Matrix matrix = ops->NewMatrix(37, 24, GetParam(), /*bias=*/true);
      matrix.weight.copy_(Random({37, 24}, 3, 0.2));
      matrix.bias.copy_(Random({37}, 4));
      const at::Tensor x = Random({rows, 24}, 5);
      const at::Tensor expected = at::mm(x.to(at::kDouble), matrix.weight.to(at::kDouble).t()) +
                                  matrix.bias.to(at::kDouble);
      EXPECT_LT(LargestDifference(ops->Linear(x, matrix), expected), tolerance()) << rows;
      EXPECT_EQ(ops->Linear(x, matrix).scalar_type(), matrix.weight.scalar_type());
    }
    // A float32 matrix stays float32 in every mode: routers.
    AtenOps::Matrix router = ops->NewMatrix(8, 24, Precision::kFloat32, /*bias=*/false);
    router.weight.copy_(Random({8, 24}, 6));
    const at::Tensor x = Random({5, 24}, 7);
    EXPECT_LT(LargestDifference(ops->Linear(x, router),
                                at::mm(x.to(at::kDouble), router.weight.to(at::kDouble).t())),
              kFloat32Tolerance);
  });
}

RowBatch MakeRows(const std::vector<SequenceRows>& sequences) {
  RowBatch rows;
  for (const SequenceRows& sequence : sequences) {
    rows.sequences.push_back(sequence);
    rows.sequences.back().first_row = rows.num_rows();
    for (int i = 0; i < sequence.num_rows; ++i) {
      rows.tokens.push_back(0);
      rows.positions.push_back(sequence.first_position + i);
    }
  }
  return rows;
}

TEST_P(AtenOpsTest, RopeTurnsTheTwoHalvesOfEveryHead) {
  const auto ops = MakeOps(SmallOptions(GetParam()));
  InOps(ops.get(), [&] {
    const std::vector<int32_t> pages(128, 1);
    const AtenOps::Batch batch = ops->Prepare(MakeRows({{0, 2, 0, pages}, {0, 1, 400, pages}}));
    const at::Tensor x = Random({3, 12}, 8);
    at::Tensor turned = x;
    ops->Rope(batch, &turned);
    const int positions[] = {0, 1, 400};
    for (int64_t row = 0; row < 3; ++row) {
      for (int64_t head = 0; head < 2; ++head) {
        for (int64_t i = 0; i < 3; ++i) {
          const double angle =
              positions[row] * std::pow(10000.0, -2.0 * static_cast<double>(i) / 6);
          const double a = Value(x, {row, head * 6 + i}), b = Value(x, {row, head * 6 + i + 3});
          EXPECT_NEAR(Value(turned, {row, head * 6 + i}), a * std::cos(angle) - b * std::sin(angle),
                      1e-4);
          EXPECT_NEAR(Value(turned, {row, head * 6 + i + 3}),
                      b * std::cos(angle) + a * std::sin(angle), 1e-4);
        }
      }
    }
  });
}

// Plain causal attention of one row over the keys and values of its past.
std::vector<double> AttendPlainly(const at::Tensor& query, const at::Tensor& keys,
                                  const at::Tensor& values, int64_t past, const OpsOptions& o) {
  std::vector<double> result;
  const int64_t group = o.num_heads / o.num_kv_heads;
  for (int64_t head = 0; head < o.num_heads; ++head) {
    const int64_t kv = head / group;
    const auto heads_of = [&](const at::Tensor& rows) {
      return rows.narrow(0, 0, past).narrow(1, kv * o.head_size, o.head_size).to(at::kDouble);
    };
    const at::Tensor q = query.narrow(0, head * o.head_size, o.head_size).to(at::kDouble);
    const at::Tensor weights =
        at::softmax(at::mv(heads_of(keys), q) / std::sqrt(double{1} * o.head_size), 0);
    const at::Tensor mixed = at::mv(heads_of(values).t(), weights);
    for (int64_t i = 0; i < o.head_size; ++i) result.push_back(mixed[i].item<double>());
  }
  return result;
}

TEST_P(AtenOpsTest, AttentionReadsThePastOfItsOwnSequenceFromScatteredPages) {
  const OpsOptions options = SmallOptions(GetParam());
  const auto ops = MakeOps(options);
  InOps(ops.get(), [&] {
    AtenOps::KvPages pages = ops->NewKvPages();
    // What nobody wrote must not be read.
    pages.keys.fill_(std::numeric_limits<float>::quiet_NaN());
    pages.values.fill_(std::numeric_limits<float>::quiet_NaN());
    // Two sequences of different lengths whose pages interleave, in chunks that end
    // inside pages; the last is longer than a block of queries.
    constexpr int kLength[2] = {kQueryBlock + 100, 11};
    std::vector<int32_t> pages_of[2];
    for (int i = 0; i < 80; ++i) {
      pages_of[0].push_back(159 - 2 * i);
      pages_of[1].push_back(2 * ((i * 7) % 80));
    }
    at::Tensor q[2], k[2], v[2];
    for (size_t s = 0; s < 2; ++s) {
      q[s] = Random({kLength[s], 24}, 10 + s);
      k[s] = Random({kLength[s], 12}, 20 + s);
      v[s] = Random({kLength[s], 12}, 30 + s);
    }
    constexpr int kCut[2][4] = {{0, 1, 30, kLength[0]}, {0, 7, 10, kLength[1]}};
    for (int round = 0; round < 3; ++round) {
      std::vector<SequenceRows> sequences;
      std::vector<at::Tensor> queries, keys, values;
      for (size_t s = 0; s < 2; ++s) {
        const int first = kCut[s][round], number = kCut[s][round + 1] - first;
        sequences.push_back({0, number, first, pages_of[s]});
        queries.push_back(q[s].narrow(0, first, number));
        keys.push_back(k[s].narrow(0, first, number));
        values.push_back(v[s].narrow(0, first, number));
      }
      const AtenOps::Batch batch = ops->Prepare(MakeRows(sequences));
      ops->StoreKv(at::cat(keys), at::cat(values), batch, &pages);
      const at::Tensor found = ops->Attend(at::cat(queries), batch, pages);
      int64_t row = 0;
      for (size_t s = 0; s < 2; ++s) {
        for (int position = kCut[s][round]; position < kCut[s][round + 1]; ++position, ++row) {
          const std::vector<double> expected =
              AttendPlainly(q[s][position], k[s], v[s], position + 1, options);
          for (int64_t i = 0; i < 24; ++i) {
            ASSERT_NEAR(Value(found, {row, i}), expected[static_cast<size_t>(i)], tolerance())
                << "sequence " << s << " position " << position;
          }
        }
      }
    }
  });
}

routing::RowRouting Routing(const std::vector<uint8_t>& experts,
                            const std::vector<float>& weights) {
  routing::RowRouting row;
  row.applied.k = static_cast<uint8_t>(experts.size());
  std::copy(experts.begin(), experts.end(), row.experts.begin());
  std::copy(weights.begin(), weights.end(), row.weights.begin());
  return row;
}

TEST_P(AtenOpsTest, ExpertsAddTheWeightedSumOfARaggedSelection) {
  const auto ops = MakeOps(SmallOptions(GetParam()));
  InOps(ops.get(), [&] {
    constexpr int64_t kExperts = 5, kIntermediate = 7, kHidden = 24;
    AtenOps::Experts experts = ops->NewExperts(kExperts, kIntermediate, kHidden);
    experts.gate_up.copy_(Random({kExperts, 2 * kIntermediate, kHidden}, 40, 0.2));
    experts.down.copy_(Random({kExperts, kHidden, kIntermediate}, 41, 0.2));
    const std::vector<std::vector<uint8_t>> selected = {{4, 0}, {}, {1, 2, 3, 4, 0}, {0}, {3, 4}};
    routing::RoutingRecord record;
    record.Reset(1, 5);
    std::vector<std::vector<float>> weights;
    for (const auto& row : selected) {
      weights.emplace_back();
      for (size_t i = 0; i < row.size(); ++i)
        weights.back().push_back(0.5f / static_cast<float>(i + 1));
      if (row.empty()) {
        record.AddFailed();
      } else {
        record.Add(Routing(row, weights.back()));
      }
    }
    ExpertSelection selection;
    selection.Build(record, 0, kExperts);
    at::Tensor x = Random({5, kHidden}, 42);
    x[1].fill_(std::numeric_limits<float>::quiet_NaN());  // the failed row harms no other
    const at::Tensor residual = Random({5, kHidden}, 43);
    at::Tensor sum = residual.clone();
    ops->AddExperts(x, experts, selection, &sum);
    for (int64_t row = 0; row < 5; ++row) {
      at::Tensor expected = residual[row].to(at::kDouble);
      for (size_t rank = 0; rank < selected[static_cast<size_t>(row)].size(); ++rank) {
        const int64_t expert = selected[static_cast<size_t>(row)][rank];
        const at::Tensor wide = x[row].to(at::kDouble);
        const at::Tensor gate = at::mv(ops->Gate(experts, expert).to(at::kDouble), wide);
        const at::Tensor up = at::mv(ops->Up(experts, expert).to(at::kDouble), wide);
        expected = expected + weights[static_cast<size_t>(row)][rank] *
                                  at::mv(ops->Down(experts, expert).to(at::kDouble),
                                         gate * at::sigmoid(gate) * up);
      }
      EXPECT_LT(LargestDifference(sum[row], expected), tolerance()) << "row " << row;
    }
  });
}

// (1e8 + 1) - 1e8 is 0 in float32 and (1e8 - 1e8) + 1 is 1: the order of the sum shows.
TEST(AtenOps, ExpertsOfARowAreSummedInRankOrder) {
  const auto ops = MakeOps(SmallOptions());
  InOps(ops.get(), [&] {
    AtenOps::Experts experts = ops->NewExperts(3, 1, 1);
    experts.gate_up.fill_(40);  // silu(40) = 40 in float32, so an expert gives 1600 * down
    const float outputs[] = {1e8f, -1e8f, 1.0f};
    for (int64_t expert = 0; expert < 3; ++expert) {
      experts.down[expert].fill_(outputs[expert] / 1600.0f);
    }
    const at::Tensor x = at::ones({1, 1});
    const auto sum_of = [&](const std::vector<uint8_t>& order) {
      routing::RoutingRecord record;
      record.Reset(1, 1);
      record.Add(Routing(order, {1, 1, 1}));
      ExpertSelection selection;
      selection.Build(record, 0, 3);
      at::Tensor sum = at::zeros({1, 1});
      ops->AddExperts(x, experts, selection, &sum);
      return sum.item<float>();
    };
    EXPECT_EQ(sum_of({0, 1, 2}), 1);
    EXPECT_EQ(sum_of({0, 2, 1}), 0);
    EXPECT_EQ(sum_of({2, 0, 1}), 0);
  });
}

TEST(AtenOps, BlocksOfWeightsAreTheRowsOfTheMergedMatrices) {
  const auto ops = MakeOps(SmallOptions());
  InOps(ops.get(), [&] {
    const AtenOps::Matrix matrix = ops->NewMatrix(5, 3, Precision::kFloat32, true);
    const AtenOps::Block block = ops->Rows(matrix, 2, 2);
    float* data = static_cast<float*>(ops->Stage(block));
    for (int i = 0; i < 6; ++i) data[i] = static_cast<float>(i);
    ops->Commit(block);
    EXPECT_EQ(Value(matrix.weight, {2, 0}), 0);
    EXPECT_EQ(Value(matrix.weight, {3, 2}), 5);
    const AtenOps::Experts experts = ops->NewExperts(2, 4, 3);
    ops->Up(experts, 1).fill_(7);
    EXPECT_EQ(Value(experts.gate_up, {1, 4, 0}), 7);
    EXPECT_EQ(ops->PrecisionOf(ops->Down(experts, 0)), Precision::kFloat32);
  });
}

TEST(AtenOps, LibraryErrorsBecomeOneLineStatuses) {
  const auto ops = MakeOps(SmallOptions());
  const absl::Status shapes = ops->Run([&] {
    at::mm(at::ones({2, 3}), at::ones({2, 3}));
    return absl::OkStatus();
  });
  EXPECT_EQ(shapes.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(shapes.message(), ::testing::HasSubstr("LibTorch: mat1 and mat2"));
  EXPECT_THAT(shapes.message(), ::testing::Not(::testing::HasSubstr("\n")));
  const absl::Status memory = ops->Run([&] {
    at::empty({int64_t{1} << 60}, at::kFloat);
    return absl::OkStatus();
  });
  EXPECT_EQ(memory.code(), absl::StatusCode::kResourceExhausted) << memory;
  const absl::Status bad_alloc = ops->Run([]() -> absl::Status { throw std::bad_alloc(); });
  EXPECT_EQ(bad_alloc.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ops->Run([] { return absl::NotFoundError("as it is"); }).message(), "as it is");
}

#if defined(__x86_64__)
TEST(AtenOps, BlasUsesTheVectorUnitsOfThisCpu) {
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "this CPU has no AVX2";
  const auto core_name =
      reinterpret_cast<const char* (*)()>(dlsym(RTLD_DEFAULT, "openblas_get_corename"));
  if (core_name == nullptr) GTEST_SKIP() << "BLAS is not OpenBLAS";
  const auto ops = MakeOps(SmallOptions());
  EXPECT_STRNE(core_name(), "Prescott");
}
#endif

TEST(AtenOps, ParallelForRunsEveryIndexOnce) {
  const auto ops = MakeOps(SmallOptions());
  std::vector<int> runs(100, 0);
  ops->ParallelFor(100, [&](int i) { ++runs[static_cast<size_t>(i)]; });
  EXPECT_THAT(runs, ::testing::Each(1));
}

INSTANTIATE_TEST_SUITE_P(, AtenOpsTest,
                         ::testing::Values(Precision::kFloat32, Precision::kBFloat16),
                         [](const auto& info) {
                           return info.param == Precision::kFloat32 ? "Float32" : "BFloat16";
                         });

}  // namespace
}  // namespace olmoe::ops
