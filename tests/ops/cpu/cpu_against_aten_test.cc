// CpuOps beside AtenOps, the reference, on the same weights and activations.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "server/ops/aten/aten_ops.h"
#include "tests/ops/cpu/cpu_ops_testing.h"

namespace olmoe::ops {
namespace {

// What both round besides: the reference rounds the results of its products too, by up to
// 2^-8 of them, and results here are of the order of 1.
constexpr double kFloat32Tolerance = 2e-5;
constexpr double kBFloat16Tolerance = 0.05;

void Fill(AtenOps* ops, const AtenOps::Block& block, const std::vector<float>& values) {
  const at::Tensor wide =
      at::from_blob(const_cast<float*>(values.data()), block.sizes(), at::kFloat);
  AtenOps::Block(block).copy_(wide);
}

at::Tensor ToAten(const CpuOps::Tensor& x) {
  at::Tensor result = at::empty({x.rows(), x.columns()}, at::kFloat);
  for (int64_t row = 0; row < x.rows(); ++row) {
    std::copy_n(x.row(row), x.columns(), result.data_ptr<float>() + row * x.columns());
  }
  return result;
}

class CpuAgainstAtenTest : public ::testing::TestWithParam<std::tuple<CpuIsa, Precision>> {
 protected:
  void SetUp() override {
    options_ = SmallOptions(std::get<1>(GetParam()));
    options_.cpu_isa = IsaName(std::get<0>(GetParam()));
    cpu_ = MakeOps(options_);
    auto aten = AtenOps::Create(options_);
    ASSERT_TRUE(aten.ok()) << aten.status();
    aten_ = *std::move(aten);
  }

  Precision precision() const { return std::get<1>(GetParam()); }

  // Both sides of the same values.
  struct Pair {
    CpuOps::Tensor cpu;
    at::Tensor aten;
  };
  Pair Values(int64_t rows, int64_t columns, uint32_t seed, float scale = 1) {
    const CpuOps::Tensor cpu =
        MakeTensor(cpu_.get(), rows, RandomValues(rows * columns, seed, scale));
    return {cpu, ToAten(cpu)};
  }

  void ExpectSame(const CpuOps::Tensor& found, const at::Tensor& expected, double tolerance) {
    const at::Tensor difference = ToAten(found).to(at::kDouble) - expected.to(at::kDouble);
    ASSERT_EQ(difference.sizes(), expected.sizes());
    EXPECT_LT(difference.abs().max().item<double>(), tolerance);
  }
  double tolerance() const {
    return precision() == Precision::kFloat32 ? kFloat32Tolerance : kBFloat16Tolerance;
  }

  OpsOptions options_;
  std::unique_ptr<CpuOps> cpu_;
  std::unique_ptr<AtenOps> aten_;
};

TEST_P(CpuAgainstAtenTest, LinearOfMergedBlocksWithBiasAndColumnsOfIt) {
  constexpr int64_t kIn = 90, kParts[] = {41, 24, 30};
  CpuOps::Matrix cpu = cpu_->NewMatrix(95, kIn, precision(), /*bias=*/true);
  AtenOps::Matrix aten = aten_->NewMatrix(95, kIn, precision(), /*bias=*/true);
  int64_t first = 0;
  for (const int64_t number : kParts) {
    const uint32_t seed = static_cast<uint32_t>(number);
    const std::vector<float> weights = RandomValues(number * kIn, seed, 0.1f);
    const std::vector<float> bias = RandomValues(number, seed + 1);
    Fill(cpu_.get(), cpu_->Rows(cpu, first, number), weights);
    Fill(aten_.get(), aten_->Rows(aten, first, number), weights);
    Fill(cpu_.get(), cpu_->Bias(cpu, first, number), bias);
    Fill(aten_.get(), aten_->Bias(aten, first, number), bias);
    first += number;
  }
  for (const int64_t rows : {1, 2, 33, 200}) {
    const Pair x = Values(rows, kIn, 1);
    const CpuOps::Tensor found = cpu_->Linear(x.cpu, cpu);
    const at::Tensor expected = aten_->Linear(x.aten, aten);
    ExpectSame(found, expected, tolerance());
    // A part of the columns is an operand like any other.
    const CpuOps::Tensor part = cpu_->Columns(found, 41, 24);
    ExpectSame(part, aten_->Columns(expected, 41, 24), tolerance());
    CpuOps::Matrix second = cpu_->NewMatrix(5, 24, Precision::kFloat32, false);
    AtenOps::Matrix aten_second = aten_->NewMatrix(5, 24, Precision::kFloat32, false);
    const std::vector<float> weights = RandomValues(5 * 24, 2, 0.1f);
    Fill(cpu_.get(), cpu_->Rows(second, 0, 5), weights);
    Fill(aten_.get(), aten_->Rows(aten_second, 0, 5), weights);
    ExpectSame(cpu_->Linear(part, second), aten_->Linear(ToAten(part), aten_second),
               kFloat32Tolerance);
  }
}

TEST_P(CpuAgainstAtenTest, RowOperations) {
  const Pair x = Values(37, 48, 3), other = Values(37, 48, 4);
  CpuOps::Vector cpu_weight = cpu_->NewVector(48);
  const AtenOps::Vector aten_weight = aten_->NewVector(48);
  const std::vector<float> weight = RandomValues(48, 5);
  Fill(cpu_.get(), cpu_->All(cpu_weight), weight);
  Fill(aten_.get(), aten_->All(aten_weight), weight);
  CpuOps::Tensor normed = cpu_->RmsNorm(x.cpu, cpu_weight);
  at::Tensor aten_normed = aten_->RmsNorm(x.aten, aten_weight);
  ExpectSame(normed, aten_normed, 1e-5);

  cpu_->Add(other.cpu, &normed);
  aten_->Add(other.aten, &aten_normed);
  ExpectSame(normed, aten_normed, 1e-5);
  cpu_->Clamp(0.7, &normed);
  aten_->Clamp(0.7, &aten_normed);
  ExpectSame(normed, aten_normed, 1e-5);
  const std::vector<int32_t> picked = {36, 0, 7, 7};
  ExpectSame(cpu_->SelectRows(normed, picked), aten_->SelectRows(aten_normed, picked), 1e-5);
  const CpuOps::HostRows host = cpu_->ToHost(normed);
  EXPECT_EQ(host.num_rows(), 37);
  EXPECT_EQ(host.row(3).size(), 48u);
  EXPECT_EQ(host.row(3)[5], normed.row(3)[5]);
}

TEST_P(CpuAgainstAtenTest, AttentionOfSequencesThatShareSteps) {
  CpuOps::KvPages cpu_pages = cpu_->NewKvPages();
  AtenOps::KvPages aten_pages = aten_->NewKvPages();
  std::vector<int32_t> pages_of[2];
  for (int i = 0; i < 80; ++i) {
    pages_of[0].push_back(159 - 2 * i);
    pages_of[1].push_back(2 * ((i * 7) % 80));
  }
  constexpr int kCut[2][4] = {{0, 1, 30, 190}, {0, 7, 10, 11}};
  for (int round = 0; round < 3; ++round) {
    RowBatch rows;
    for (size_t s = 0; s < 2; ++s) {
      const int first = kCut[s][round], number = kCut[s][round + 1] - first;
      rows.sequences.push_back({rows.num_rows(), number, first, pages_of[s]});
      for (int i = 0; i < number; ++i) {
        rows.tokens.push_back(0);
        rows.positions.push_back(first + i);
      }
    }
    const uint32_t seed = 10 * static_cast<uint32_t>(round);
    Pair q = Values(rows.num_rows(), 24, seed), k = Values(rows.num_rows(), 12, seed + 1);
    const Pair v = Values(rows.num_rows(), 12, seed + 2);
    const CpuOps::Batch batch = cpu_->Prepare(rows);
    const AtenOps::Batch aten_batch = aten_->Prepare(rows);
    for (Pair* pair : {&q, &k}) {
      cpu_->Rope(batch, &pair->cpu);
      aten_->Rope(aten_batch, &pair->aten);
      ExpectSame(pair->cpu, pair->aten, 1e-4);  // float32 sines of angles up to 190
    }
    cpu_->StoreKv(k.cpu, v.cpu, batch, &cpu_pages);
    aten_->StoreKv(k.aten, v.aten, aten_batch, &aten_pages);
    ExpectSame(cpu_->Attend(q.cpu, batch, cpu_pages), aten_->Attend(q.aten, aten_batch, aten_pages),
               precision() == Precision::kFloat32 ? 1e-4 : kBFloat16Tolerance);
  }
}

TEST_P(CpuAgainstAtenTest, ExpertsOfARaggedSelection) {
  constexpr int64_t kExperts = 5;
  for (const int64_t intermediate : {7, 64}) {
    for (const int64_t hidden : {24, 96}) {
      const CpuOps::Experts cpu = cpu_->NewExperts(kExperts, intermediate, hidden);
      const AtenOps::Experts aten = aten_->NewExperts(kExperts, intermediate, hidden);
      for (int64_t expert = 0; expert < kExperts; ++expert) {
        const auto fill = [&](auto part, uint32_t seed) {
          const std::vector<float> values =
              RandomValues(intermediate * hidden, seed + 10 * static_cast<uint32_t>(expert), 0.1f);
          Fill(cpu_.get(), part(cpu_.get(), cpu, expert), values);
          Fill(aten_.get(), part(aten_.get(), aten, expert), values);
        };
        fill([](auto* ops, const auto& all, int64_t e) { return ops->Gate(all, e); }, 20);
        fill([](auto* ops, const auto& all, int64_t e) { return ops->Up(all, e); }, 21);
        fill([](auto* ops, const auto& all, int64_t e) { return ops->Down(all, e); }, 22);
      }
      std::vector<Selected> rows = {{{4, 0}, {0.6f, 0.4f}},
                                    {},
                                    {{1, 2, 3, 4, 0}, {0.3f, 0.3f, 0.2f, 0.1f, 0.1f}},
                                    {{0}, {1}}};
      for (uint8_t i = 0; i < 60; ++i) {  // expert 3 has many rows
        rows.push_back({{3, static_cast<uint8_t>(i % 3)}, {0.5f, 0.25f}});
      }
      const ExpertSelection selection = Select(rows, kExperts);
      const Pair x = Values(std::ssize(rows), hidden, 6);
      Pair sum = Values(std::ssize(rows), hidden, 7);
      cpu_->AddExperts(x.cpu, cpu, selection, &sum.cpu);
      aten_->AddExperts(x.aten, aten, selection, &sum.aten);
      ExpectSame(sum.cpu, sum.aten, tolerance());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    , CpuAgainstAtenTest,
    ::testing::Combine(::testing::ValuesIn(SupportedIsas()),
                       ::testing::Values(Precision::kFloat32, Precision::kBFloat16)),
    [](const auto& info) { return IsaTestName(std::get<0>(info.param), std::get<1>(info.param)); });

}  // namespace
}  // namespace olmoe::ops
