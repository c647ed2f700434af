// Tensors and weights of CpuOps from values, for its tests.
#ifndef OLMOE_TESTS_OPS_CPU_CPU_OPS_TESTING_H_
#define OLMOE_TESTS_OPS_CPU_CPU_OPS_TESTING_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "server/ops/cpu/cpu_ops.h"

namespace olmoe::ops {

inline std::string IsaTestName(CpuIsa isa, Precision precision) {
  std::string name(IsaName(isa));
  std::erase(name, '-');
  return name + (precision == Precision::kFloat32 ? "_float32" : "_bfloat16");
}

inline OpsOptions SmallOptions(Precision precision = Precision::kFloat32) {
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

// Whose scratch memory is NaN wherever it has not been written.
inline std::unique_ptr<CpuOps> MakeOps(const OpsOptions& options) {
  auto ops = CpuOps::Create(options);
  EXPECT_TRUE(ops.ok()) << ops.status();
  (*ops)->PoisonForTesting();
  return *std::move(ops);
}

// Values that bfloat16 holds exactly.
inline std::vector<float> RandomValues(int64_t number, uint32_t seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(static_cast<size_t>(number));
  for (float& value : values) {
    value = std::bit_cast<float>(std::bit_cast<uint32_t>(normal(random)) & 0xffff0000u);
  }
  return values;
}

// As reading a checkpoint does it.
inline void Fill(CpuOps* ops, const CpuOps::Block& block, const std::vector<float>& values) {
  void* staged = ops->Stage(block);
  if (ops->PrecisionOf(block) == Precision::kFloat32) {
    std::memcpy(staged, values.data(), values.size() * sizeof(float));
  } else {
    uint16_t* to = static_cast<uint16_t*>(staged);
    for (const float value : values) {
      *to++ = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
    }
  }
  ops->Commit(block);
}

// float32 [rows, n]: an embedding that the tokens 0, 1, ... are looked up in.
inline CpuOps::Tensor MakeTensor(CpuOps* ops, int64_t rows, const std::vector<float>& values) {
  const int64_t columns = std::ssize(values) / rows;
  const CpuOps::Matrix matrix = ops->NewMatrix(rows, columns, Precision::kFloat32, false);
  Fill(ops, ops->Rows(matrix, 0, rows), values);
  RowBatch batch;
  for (int32_t row = 0; row < rows; ++row) batch.tokens.push_back(row);
  return ops->Embed(matrix, CpuOps::Batch{&batch});
}

struct Selected {
  std::vector<uint8_t> experts;
  std::vector<float> weights;
};

// A row without experts is one that failed.
inline ExpertSelection Select(const std::vector<Selected>& rows, int num_experts) {
  routing::RoutingRecord record;
  record.Reset(1, static_cast<int>(rows.size()));
  for (const Selected& row : rows) {
    if (row.experts.empty()) {
      record.AddFailed();
      continue;
    }
    routing::RowRouting routing;
    routing.applied.k = static_cast<uint8_t>(row.experts.size());
    std::copy(row.experts.begin(), row.experts.end(), routing.experts.begin());
    std::copy(row.weights.begin(), row.weights.end(), routing.weights.begin());
    record.Add(routing);
  }
  ExpertSelection selection;
  selection.Build(record, 0, num_experts);
  return selection;
}

}  // namespace olmoe::ops

#endif  // OLMOE_TESTS_OPS_CPU_CPU_OPS_TESTING_H_
