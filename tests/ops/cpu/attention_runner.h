// Sequences, what attention gives for them, and what they run on: for attention_test.cc.
#ifndef OLMOE_TESTS_OPS_CPU_ATTENTION_RUNNER_H_
#define OLMOE_TESTS_OPS_CPU_ATTENTION_RUNNER_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "glog/logging.h"
#include "server/ops/cpu/attention.h"
#include "tests/ops/cpu/guarded.h"

namespace olmoe::ops {

struct Shape {
  int heads = 2;
  int kv_heads = 2;
  int head_size = 32;
  int page_tokens = 16;
};

inline OpsOptions Options(const Shape& shape, Precision precision) {
  OpsOptions options;
  options.compute = precision;
  options.num_heads = shape.heads;
  options.num_kv_heads = shape.kv_heads;
  options.head_size = shape.head_size;
  options.page_tokens = shape.page_tokens;
  return options;
}

inline std::vector<float> Random(size_t size, uint32_t seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(size);
  for (float& value : values) value = normal(generator);
  return values;
}

inline double Stored(float x, Precision precision) {
  if (precision == Precision::kFloat32) return x;
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return std::bit_cast<float>((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u);
}

// A sequence's queries, keys and values at positions 0 ... tokens - 1.
struct Sequence {
  Sequence(const Shape& shape, int tokens, uint32_t seed, float scale = 1)
      : shape(shape), tokens(tokens) {
    const size_t rows = static_cast<size_t>(tokens) * static_cast<size_t>(shape.head_size);
    queries = Random(rows * static_cast<size_t>(shape.heads), seed, scale);
    keys = Random(rows * static_cast<size_t>(shape.kv_heads), seed + 1, scale);
    values = Random(rows * static_cast<size_t>(shape.kv_heads), seed + 2);
  }
  int query_width() const { return shape.heads * shape.head_size; }
  int kv_width() const { return shape.kv_heads * shape.head_size; }

  Shape shape;
  int tokens;
  std::vector<float> queries, keys, values;
};

struct Expected {
  double value = 0;
  double bound = 0;  // of the error
};

// One element of the result, and how far a kernel may be from it. A float32 logit is a
// chain of D sums, each within 2^-24 of the sum of the absolute terms, and `unit` is the
// relative error of an operand. A relative error r of every weight, and of their sum, moves
// the average by at most 2 r max|v|.
inline Expected Reference(const Sequence& s, Precision precision, double unit, int row, int head,
                          int d) {
  const int kv_head = head / (s.shape.heads / s.shape.kv_heads);
  const int size = s.shape.head_size;
  std::vector<double> logits(static_cast<size_t>(row) + 1);
  double absolute = 0;
  for (int i = 0; i <= row; ++i) {
    double sum = 0, terms = 0;
    for (int j = 0; j < size; ++j) {
      const double term =
          s.queries[static_cast<size_t>(row * s.query_width() + head * size + j)] *
          Stored(s.keys[static_cast<size_t>(i * s.kv_width() + kv_head * size + j)], precision);
      sum += term;
      terms += std::abs(term);
    }
    logits[static_cast<size_t>(i)] = sum / std::sqrt(size);
    absolute = std::max(absolute, terms / std::sqrt(size));
  }
  const double largest = *std::max_element(logits.begin(), logits.end());
  double total = 0, mixed = 0, value_limit = 0;
  for (int i = 0; i <= row; ++i) {
    const double weight = std::exp(logits[static_cast<size_t>(i)] - largest);
    const double value =
        Stored(s.values[static_cast<size_t>(i * s.kv_width() + kv_head * size + d)], precision);
    total += weight;
    mixed += weight * value;
    value_limit = std::max(value_limit, std::abs(value));
  }
  constexpr double kRound = 0x1p-24;
  const double of_logits = absolute * (unit + (size + 4) * kRound);
  const double of_weights = unit + 8 * kRound;           // of the exponential
  const double of_sums = (row + 1) * kRound;
  return {mixed / total, 2 * (of_logits + of_weights + of_sums) * value_limit};
}

// The pages of one layer and what runs on them. What is not stored is NaN. Thread-compatible.
class Runner {
 public:
  Runner(CpuIsa isa, Precision precision, const Shape& shape, int num_pages)
      : shape_(shape),
        attention_(isa, Options(shape, precision)),
        pages_(attention_.page_bytes() * static_cast<size_t>(num_pages), Against::kPageAfter, 64),
        scratch_(attention_.scratch_bytes(), Against::kPageAfter, 64) {
    free_.resize(static_cast<size_t>(num_pages));
    std::iota(free_.begin(), free_.end(), 0);
  }

  const CpuAttention& attention() const { return attention_; }
  void ShufflePages(uint32_t seed) { std::shuffle(free_.begin(), free_.end(), std::mt19937(seed)); }
  std::vector<int32_t> TakePages(int tokens) {
    const int number = (tokens + shape_.page_tokens - 1) / shape_.page_tokens;
    std::vector<int32_t> taken(free_.end() - number, free_.end());
    free_.resize(free_.size() - static_cast<size_t>(number));
    return taken;
  }

  // Stores and attends positions first ... first + number - 1: a chunk of a prompt.
  std::vector<float> Chunk(const Sequence& s, std::span<const int32_t> page_ids, int first,
                           int number) {
    const size_t kv = static_cast<size_t>(first * s.kv_width());
    attention_.StoreKv(s.keys.data() + kv, s.kv_width(), s.values.data() + kv, s.kv_width(), number,
                       page_ids, first, pages_.data());
    const size_t width = static_cast<size_t>(s.query_width());
    Guarded<float> queries(width * static_cast<size_t>(number)), output(queries.size());
    std::memcpy(queries.data(), s.queries.data() + width * static_cast<size_t>(first),
                queries.size() * sizeof(float));
    RowBatch batch;
    batch.sequences = {
        {.first_row = 0, .num_rows = number, .first_position = first, .pages = page_ids}};
    std::vector<AttentionTask> tasks;
    attention_.Plan(batch, &tasks);
    for (const AttentionTask& task : tasks) {
      std::memset(scratch_.data(), 0xff, scratch_.size());
      attention_.Attend(task, queries.data(), s.query_width(), pages_.data(), output.data(),
                        s.query_width(), scratch_.data());
    }
    return {output.span().begin(), output.span().end()};
  }

  // The whole sequence in chunks of these sizes.
  std::vector<float> Run(const Sequence& s, const std::vector<int>& chunks) {
    const std::vector<int32_t> page_ids = TakePages(s.tokens);
    std::vector<float> all;
    int first = 0;
    for (const int number : chunks) {
      const std::vector<float> result = Chunk(s, page_ids, first, number);
      all.insert(all.end(), result.begin(), result.end());
      first += number;
    }
    CHECK_EQ(first, s.tokens);
    return all;
  }

 private:
  Shape shape_;
  CpuAttention attention_;
  Guarded<std::byte> pages_;
  Guarded<std::byte> scratch_;
  std::vector<int32_t> free_;
};

inline std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

inline std::string Name(const Shape& shape) {
  return "heads " + std::to_string(shape.heads) + "/" + std::to_string(shape.kv_heads) + ", D " +
         std::to_string(shape.head_size) + ", pages of " + std::to_string(shape.page_tokens);
}

// The largest error in units of its bound, over the rows picked.
inline double LargestError(const Sequence& s, Precision precision, double unit,
                           const std::vector<float>& found, const std::vector<int>& rows) {
  double largest = 0;
  for (const int row : rows) {
    for (int head = 0; head < s.shape.heads; ++head) {
      for (int d = 0; d < s.shape.head_size; d += s.shape.head_size > 16 ? 5 : 1) {
        const Expected expected = Reference(s, precision, unit, row, head, d);
        const double value =
            found[static_cast<size_t>(row * s.query_width() + head * s.shape.head_size + d)];
        const double error = std::abs(value - expected.value) / expected.bound;
        if (!(error <= largest)) largest = error;  // NaN too
      }
    }
  }
  return largest;
}

}  // namespace olmoe::ops

#endif  // OLMOE_TESTS_OPS_CPU_ATTENTION_RUNNER_H_
