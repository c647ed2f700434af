// What CpuOps promises beside its numbers, which cpu_against_aten_test.cc compares.
#include "server/ops/cpu/cpu_ops.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <new>
#include <random>

#include "tests/ops/cpu/cpu_ops_testing.h"

namespace olmoe::ops {
namespace {

using ::testing::HasSubstr;

TEST(CpuOps, RefusesWhatThisMachineOrBuildDoesNotHave) {
  OpsOptions options = SmallOptions();
  options.cpu_isa = "sse9";
  EXPECT_EQ(CpuOps::Create(options).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(CpuOps::Create(options).status().message(), HasSubstr("\"sse9\""));
  EXPECT_THAT(CpuOps::Create(options).status().message(), HasSubstr("portable"));
  options.cpu_isa = "auto";
  EXPECT_EQ((*CpuOps::Create(options))->Name(), IsaName(DetectIsa()));
  options.device = "cuda";
  EXPECT_EQ(CpuOps::Create(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CpuOps, MemoryAndOtherErrorsBecomeStatuses) {
  const auto ops = MakeOps(SmallOptions());
  EXPECT_EQ(ops->Run([]() -> absl::Status { throw std::bad_alloc(); }).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ops->Run([&] {
                 ops->NewMatrix(int64_t{1} << 40, 1 << 20, Precision::kFloat32, false);
                 return absl::OkStatus();
               })
                .code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ops->Run([]() -> absl::Status { throw std::runtime_error("other"); }).message(),
            "other");
  EXPECT_EQ(ops->Run([] { return absl::NotFoundError("as it is"); }).message(), "as it is");
}

TEST(CpuOps, ParallelForRunsEveryIndexOnce) {
  const auto ops = MakeOps(SmallOptions());
  std::vector<int> runs(100, 0);
  ops->ParallelFor(100, [&](int i) { ++runs[static_cast<size_t>(i)]; });
  EXPECT_THAT(runs, ::testing::Each(1));
}

class CpuOpsTest : public ::testing::TestWithParam<std::tuple<CpuIsa, Precision>> {
 protected:
  OpsOptions Options(int threads = 2) const {
    OpsOptions options = SmallOptions(std::get<1>(GetParam()));
    options.cpu_isa = IsaName(std::get<0>(GetParam()));
    options.threads = threads;
    return options;
  }
};

// Experts of one column each whose products are exact: (1e8 + 1) - 1e8 is 0 in float32 and
// (1e8 - 1e8) + 1 is 1, so the order of the sum shows.
TEST_P(CpuOpsTest, ExpertsOfARowAreSummedInRankOrder) {
  const auto ops = MakeOps(Options());
  const CpuOps::Experts experts = ops->NewExperts(3, 1, 1);
  for (int64_t expert = 0; expert < 3; ++expert) {
    Fill(ops.get(), ops->Gate(experts, expert), {64.0f});  // silu(64) = 64
    Fill(ops.get(), ops->Up(experts, expert), {1.0f});
    const float results[] = {0x1p30f, -0x1p30f, 1.0f};
    Fill(ops.get(), ops->Down(experts, expert), {results[expert] / 64});
  }
  const auto sum_of = [&](const std::vector<uint8_t>& order) {
    const ExpertSelection selection = Select({{order, {1, 1, 1}}}, 3);
    CpuOps::Tensor sum = MakeTensor(ops.get(), 1, {0.0f});
    ops->AddExperts(MakeTensor(ops.get(), 1, {1.0f}), experts, selection, &sum);
    return sum.row(0)[0];
  };
  EXPECT_EQ(sum_of({0, 1, 2}), 1);
  EXPECT_EQ(sum_of({0, 2, 1}), 0);
  EXPECT_EQ(sum_of({2, 0, 1}), 0);
}

// A model's worth of operations on rows that were chosen from `x`, as bits.
class RowResults {
 public:
  explicit RowResults(const OpsOptions& options) : ops_(MakeOps(options)) {
    matrix_ = ops_->NewMatrix(kOut, kIn, options.compute, /*bias=*/true);
    Fill(ops_.get(), ops_->Rows(matrix_, 0, kOut), RandomValues(kOut * kIn, 1));
    Fill(ops_.get(), ops_->Bias(matrix_, 0, kOut), RandomValues(kOut, 2));
    experts_ = ops_->NewExperts(kExperts, kIntermediate, kIn);
    for (int64_t expert = 0; expert < kExperts; ++expert) {
      const uint32_t seed = 10 * static_cast<uint32_t>(expert);
      Fill(ops_.get(), ops_->Gate(experts_, expert), RandomValues(kIntermediate * kIn, seed + 3));
      Fill(ops_.get(), ops_->Up(experts_, expert), RandomValues(kIntermediate * kIn, seed + 4));
      Fill(ops_.get(), ops_->Down(experts_, expert), RandomValues(kIntermediate * kIn, seed + 5));
    }
  }

  static std::vector<float> X() { return RandomValues(kRows * kIn, 6); }

  // Of each of `rows` of x: the bits of its product and of the sum of its experts.
  std::vector<std::vector<uint32_t>> Of(const std::vector<float>& x,
                                        const std::vector<int32_t>& rows) {
    const CpuOps::Tensor picked =
        ops_->SelectRows(MakeTensor(ops_.get(), std::ssize(x) / kIn, x), rows);
    const CpuOps::Tensor product = ops_->Linear(picked, matrix_);
    std::vector<Selected> selected;
    for (const int32_t row : rows) {
      Selected& of_row = selected.emplace_back();
      for (int32_t rank = 0; rank < row % (kExperts + 1); ++rank) {  // 0 .. all experts
        of_row.experts.push_back(static_cast<uint8_t>((row * 3 + rank) % kExperts));
        of_row.weights.push_back(0.1f + 0.2f * static_cast<float>(rank));
      }
    }
    CpuOps::Tensor sum =
        MakeTensor(ops_.get(), std::ssize(rows), std::vector<float>(rows.size() * kIn, 0.25f));
    ops_->AddExperts(picked, experts_, Select(selected, kExperts), &sum);
    std::vector<std::vector<uint32_t>> bits;
    for (int64_t row = 0; row < std::ssize(rows); ++row) {
      std::vector<uint32_t>& of_row = bits.emplace_back();
      for (int64_t i = 0; i < kOut; ++i) {
        of_row.push_back(std::bit_cast<uint32_t>(product.row(row)[i]));
      }
      for (int64_t i = 0; i < kIn; ++i) of_row.push_back(std::bit_cast<uint32_t>(sum.row(row)[i]));
    }
    return bits;
  }

  static constexpr int64_t kRows = 90;

 private:
  static constexpr int64_t kOut = 75, kIn = 70, kIntermediate = 45, kExperts = 7;

  std::unique_ptr<CpuOps> ops_;
  CpuOps::Matrix matrix_;
  CpuOps::Experts experts_;
};

TEST_P(CpuOpsTest, ARowHasTheSameBitsInAnyBatchAndWithAnyNumberOfThreads) {
  std::vector<int32_t> all;
  for (int32_t row = 0; row < RowResults::kRows; ++row) all.push_back(row);
  RowResults one(Options(1));
  const std::vector<std::vector<uint32_t>> expected = one.Of(RowResults::X(), all);
  std::mt19937 random(7);
  for (const int threads : {1, 2, 5}) {
    RowResults results(Options(threads));
    for (int batch = 0; batch < 20; ++batch) {
      std::shuffle(all.begin(), all.end(), random);
      const auto end = all.begin() + 1 + static_cast<ptrdiff_t>(random() % all.size());
      const std::vector<int32_t> rows(all.begin(), end);
      const std::vector<std::vector<uint32_t>> found = results.Of(RowResults::X(), rows);
      for (size_t i = 0; i < rows.size(); ++i) {
        ASSERT_EQ(found[i], expected[static_cast<size_t>(rows[i])])
            << "row " << rows[i] << " at place " << i << " of " << rows.size();
      }
    }
  }
}

TEST_P(CpuOpsTest, ARowOfNaNTouchesNoOther) {
  RowResults results(Options());
  std::vector<int32_t> rows;
  for (int32_t row = 0; row < 40; ++row) rows.push_back(row);
  const std::vector<std::vector<uint32_t>> before = results.Of(RowResults::X(), rows);
  std::vector<float> x = RowResults::X();
  const size_t width = x.size() / RowResults::kRows;
  constexpr size_t kBad = 20;
  std::fill_n(x.begin() + kBad * width, width, std::numeric_limits<float>::quiet_NaN());
  const std::vector<std::vector<uint32_t>> after = results.Of(x, rows);
  for (size_t row = 0; row < rows.size(); ++row) EXPECT_EQ(after[row] == before[row], row != kBad);
}

TEST_P(CpuOpsTest, TiedEmbeddingsAreReadFromThePackedHead) {
  const auto ops = MakeOps(Options());
  constexpr int64_t kVocabulary = 70, kHidden = 37;
  const CpuOps::Matrix head =
      ops->NewMatrix(kVocabulary, kHidden, std::get<1>(GetParam()), /*bias=*/false);
  const std::vector<float> values = RandomValues(kVocabulary * kHidden, 8);
  Fill(ops.get(), ops->Rows(head, 0, kVocabulary), values);
  RowBatch rows;
  rows.tokens = {69, 0, 31, 32, 33};
  rows.positions = {0, 1, 2, 3, 4};
  const CpuOps::Tensor x = ops->Embed(head, ops->Prepare(rows));
  for (int64_t row = 0; row < 5; ++row) {
    const int64_t token = rows.tokens[static_cast<size_t>(row)];
    EXPECT_EQ(std::memcmp(x.row(row), values.data() + token * kHidden, kHidden * sizeof(float)), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    , CpuOpsTest,
    ::testing::Combine(::testing::ValuesIn(SupportedIsas()),
                       ::testing::Values(Precision::kFloat32, Precision::kBFloat16)),
    [](const auto& info) { return IsaTestName(std::get<0>(info.param), std::get<1>(info.param)); });

}  // namespace
}  // namespace olmoe::ops
