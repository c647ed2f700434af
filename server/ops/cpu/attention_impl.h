// The scheme of attention that every instruction set follows; the products differ
// (attention_vector_impl.h, attention_amx.cc). Included after a vec_*.h.
//
// Idea. The cache gives keys and values in pages anywhere in memory. A query q at position p
// wants sum_i w_i v_i with w = softmax(q k_i / sqrt(D)) over i <= p. This is flash attention
// (Dao et al. 2022; the online softmax is Milakov and Gimelshein 2018): positions are taken
// in blocks of kKeyBlock, and of the blocks so far a query keeps only its largest logit m,
// the sum s of 2^(logit - m) and the vector o of the same weights times values. A block with
// a larger logit m' first scales s and o by 2^(m - m'). At the end the result is o / s. No
// row of logits is ever longer than a block. The factor log2(e) / sqrt(D) is multiplied into
// the query, so the exponentials are powers of two.
//
// The same bits whatever the batch. Blocks lie at multiples of kKeyBlock from position 0,
// not from the query, and inside a block every query goes through the same operations in
// the same order: a logit is one chain of fused additions over the dimensions, an output
// one chain over the positions, and a sum over a block adds up vectors, then lanes. How
// many queries are computed beside it, in which registers, or in which page a position lies
// changes no operand of any chain. A query whose past ends inside a block gives the positions
// after it weight 0, and adding 0 times a value (finite: a NaN of one's own future is one's
// own) changes nothing but the sign of a zero, which the last step, adding +0, takes away.
// So decoding a row, and prefilling it in a chunk of any size, give the same bits.
//
// Nothing beyond the context is read into a result: logits there are replaced, not
// multiplied, and values there are not multiplied with (AMX: by zeros of a copy).
//
// Cost. A pass loads kKeyBlock positions once for up to 64 queries. At one query it is bound
// by memory: a block's keys and values, 32 KiB of bfloat16 with D = 128. There is no split
// over the positions of one query: a model has at least as many kv heads as a machine that
// it runs well on has cores.
//
// Tested by tests/ops/cpu/attention_test.cc, against doubles and bit by bit.
#ifndef OLMOE_SERVER_OPS_CPU_ATTENTION_IMPL_H_
#define OLMOE_SERVER_OPS_CPU_ATTENTION_IMPL_H_

#include <cstddef>
#include <cstdint>

#include "server/ops/cpu/attention_kernels.h"
#include "server/ops/cpu/exp2_impl.h"
#include "server/ops/cpu/kv_layout.h"

namespace olmoe::ops {
namespace {

constexpr int kStrip = KvLayout::kStrip;
constexpr int kStripsPerBlock = kKeyBlock / kStrip;
constexpr int kTileQueries = 16;  // whose logits of a block are in scratch at once
constexpr float kLowest = -3.40282347e38f;

inline int Smaller(int a, int b) { return a < b ? a : b; }

// Keys and values of kKeyBlock positions, or of those that the context has: blocked strips.
template <typename Element>
struct KeyBlock {
  // Strips that the context does not reach are the first one again.
  const Element* keys[kStripsPerBlock];
  const Element* values[kStripsPerBlock];
  int num_positions = 0;
  // Whether to prefetch the values while logits are computed. (The keys of the next block
  // come in time without: prefetched too, they measured slower.)
  bool prefetch = false;
};

// One strip from plain pages into blocked form; dimensions and positions that do not
// exist are 0.
template <typename Element>
void GatherStrip(const KvLayout& layout, const AttentionRows& rows, int first, int num_positions,
                 Element* keys, Element* values) {
  constexpr bool kPairs = sizeof(Element) == 2;
  const int64_t dims = layout.padded_size();
  __builtin_memset(keys, 0, static_cast<size_t>(kStrip * dims) * sizeof(Element));
  __builtin_memset(values, 0, static_cast<size_t>(kStrip * dims) * sizeof(Element));
  const Element* pages = static_cast<const Element*>(rows.pages);
  for (int i = 0; i < num_positions; ++i) {
    const int page = rows.page_ids[(first + i) / layout.page_tokens];
    const int64_t row = int64_t{(first + i) % layout.page_tokens} * layout.head_size;
    const Element* key = pages + layout.keys_begin(page, rows.kv_head) + row;
    const Element* value = pages + layout.values_begin(page, rows.kv_head) + row;
    for (int d = 0; d < layout.head_size; ++d) {
      keys[kPairs ? (d / 2 * kStrip + i) * 2 + d % 2 : d * kStrip + i] = key[d];
      values[kPairs ? i / 2 * 2 * dims + 2 * d + i % 2 : i * dims + d] = value[d];
    }
  }
}

// The block that begins at `first`, of a context of `context` positions.
template <typename Element>
KeyBlock<Element> FindBlock(const KvLayout& layout, const AttentionRows& rows, int first,
                            int context, Element* gathered) {
  KeyBlock<Element> block;
  block.num_positions = Smaller(kKeyBlock, context - first);
  const int64_t strip_size = int64_t{kStrip} * layout.padded_size();
  const Element* pages = static_cast<const Element*>(rows.pages);
  for (int strip = 0; strip < kStripsPerBlock; ++strip) {
    const int position = first + strip * kStrip;
    if (position >= context) {
      block.keys[strip] = block.keys[0];
      block.values[strip] = block.values[0];
    } else if (layout.blocked()) {
      const int page = rows.page_ids[position / layout.page_tokens];
      const int64_t inside = int64_t{position % layout.page_tokens} * layout.head_size;
      block.keys[strip] = pages + layout.keys_begin(page, rows.kv_head) + inside;
      block.values[strip] = pages + layout.values_begin(page, rows.kv_head) + inside;
    } else {
      Element* keys = gathered + strip * strip_size;
      Element* values = keys + kStripsPerBlock * strip_size;
      GatherStrip(layout, rows, position, Smaller(kStrip, context - position), keys, values);
      block.keys[strip] = keys;
      block.values[strip] = values;
    }
  }
  return block;
}

// What a query keeps of the blocks so far.
struct Running {
  float maximum = kLowest;  // finite, so that differences to it are
  float sum = 0;
};

// Logits [kKeyBlock] of one query, of which the first `visible` count (kAll: all do), to
// weights, by store(lane, weights of two vectors). Returns what earlier sums have to be
// multiplied by.
template <bool kAll, typename Store>
[[gnu::always_inline]] inline float Weigh(const float* logits, int visible, Running* running,
                                          const Store& store) {
  constexpr int kVectors = kKeyBlock / Vec::kLanes;
  const Vec::F hidden = Vec::Set(-__builtin_inff());
  const auto load = [&](int lane) {
    const Vec::F x = Vec::Load(logits + lane);
    return kAll ? x : Vec::KeepFirst(x, visible - lane, hidden);
  };
  Vec::F largest = Vec::Set(running->maximum);
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) {
    largest = Vec::Max(load(i * Vec::kLanes), largest);  // passes over NaN, which the sum meets
  }
  const float maximum = Vec::Maximum(largest);
  const Vec::F from = Vec::Set(maximum);
  Vec::F sum = Vec::Zero();
#pragma GCC unroll 2
  for (int i = 0; i < kVectors; i += 2) {
    const int lane = i * Vec::kLanes;
    const Vec::F first = Exp2(Vec::Sub(load(lane), from));
    const Vec::F second = Exp2(Vec::Sub(load(lane + Vec::kLanes), from));
    sum = Vec::Add(sum, Vec::Add(first, second));
    store(lane, first, second);
  }
  const float factor = Vec::FirstLane(Exp2(Vec::Set(running->maximum - maximum)));
  running->maximum = maximum;
  running->sum = running->sum * factor + Vec::Sum(sum);
  return factor;
}

inline void ScaleBy(float factor, int dims, float* output) {
  if (factor == 1.0f) return;
  for (int d = 0; d < dims; d += Vec::kLanes) {
    Vec::Store(output + d, Vec::Mul(Vec::Load(output + d), Vec::Set(factor)));
  }
}

// One pass over the context for at most kQueriesPerPass queries. Products has
//   Element                                of keys and values
//   Products(layout, num_queries, memory)  memory: [2 * kTileQueries * kKeyBlock] floats
//   SetQuery(query, floats [dims])
//   Logits(tile, rows, block, n)           of the first n positions, to logits()
//   logits()                               [kTileQueries][kKeyBlock]
//   StoreWeights(row, lane, two vectors)
//   StartMix(block, values)                may move the block's values into `values`
//   Mix(rows, block, n, output)            output [rows][dims] += weights * values
template <typename Products>
class AttentionPass {
 public:
  using Element = typename Products::Element;

  AttentionPass(const KvLayout& layout, const AttentionRows& rows, int first_query, int num_queries,
                void* scratch)
      : layout_(layout),
        rows_(rows),
        first_query_(first_query),
        num_queries_(num_queries),
        dims_(layout.padded_size()),
        output_(static_cast<float*>(scratch)),
        strips_(output_ + 2 * kQueriesPerPass * dims_),
        products_(layout, num_queries, output_ + kQueriesPerPass * dims_,
                  strips_ + 2 * kKeyBlock * dims_) {}

  void Run() {
    ReadQueries();
    const int context = PastOf(num_queries_ - 1);
    Element* gathered = reinterpret_cast<Element*>(strips_);
    for (int first = 0; first < context; first += kKeyBlock) {
      KeyBlock<Element> block = FindBlock(layout_, rows_, first, context, gathered);
      block.prefetch = layout_.blocked();
      AddBlock(first, &block, gathered + kKeyBlock * dims_);
    }
    WriteOutput();
  }

 private:
  // Positions that a query of this pass attends to.
  int PastOf(int query) const {
    return rows_.first_position + (first_query_ + query) / layout_.group() + 1;
  }
  // Where the vector of a query begins in its matrix.
  int64_t Offset(int query, int64_t stride) const {
    const int group = layout_.group();
    const int head = rows_.kv_head * group + (first_query_ + query) % group;
    return (first_query_ + query) / group * stride + int64_t{head} * layout_.head_size;
  }

  void ReadQueries() {
    constexpr float kLog2E = 1.44269504f;
    const float scale = kLog2E / __builtin_sqrtf(static_cast<float>(layout_.head_size));
    for (int query = 0; query < num_queries_; ++query) {
      const float* from = rows_.queries + Offset(query, rows_.query_stride);
      // Rows lie far apart in memory.
      const float* ahead =
          rows_.queries + Offset(Smaller(query + 4, num_queries_ - 1), rows_.query_stride);
      for (int d = 0; d < layout_.head_size; d += 16) __builtin_prefetch(ahead + d);
      float* row = output_ + query * dims_;
      for (int d = 0; d < layout_.head_size; ++d) row[d] = from[d] * scale;
      for (int d = layout_.head_size; d < dims_; ++d) row[d] = 0;
      products_.SetQuery(query, row);
      for (int d = 0; d < dims_; ++d) row[d] = 0;
    }
  }

  void AddBlock(int first, KeyBlock<Element>* block, Element* values) {
    bool first_tile = true;
    for (int tile = 0; tile < num_queries_; tile += kTileQueries) {
      const int rows = Smaller(kTileQueries, num_queries_ - tile);
      const int n = Smaller(block->num_positions, PastOf(tile + rows - 1) - first);
      if (n <= 0) continue;
      products_.Logits(tile, rows, *block, n);
      for (int row = 0; row < rows; ++row) {
        const float factor = WeighRow(row, PastOf(tile + row) - first, &running_[tile + row]);
        ScaleBy(factor, dims_, output_ + (tile + row) * dims_);
      }
      if (first_tile) products_.StartMix(block, values);
      products_.Mix(rows, *block, n, output_ + tile * dims_);
      block->prefetch = false;  // they are in the cache
      first_tile = false;
    }
  }

  float WeighRow(int row, int visible, Running* running) {
    const float* logits = products_.logits() + row * kKeyBlock;
    const auto store = [&](int lane, Vec::F first, Vec::F second) {
      products_.StoreWeights(row, lane, first, second);
    };
    return visible >= kKeyBlock ? Weigh<true>(logits, visible, running, store)
                                : Weigh<false>(logits, visible, running, store);
  }

  void WriteOutput() {
    for (int query = 0; query < num_queries_; ++query) {
      const float inverse = 1.0f / running_[query].sum;
      const float* from = output_ + query * dims_;
      float* to = rows_.output + Offset(query, rows_.output_stride);
      for (int d = 0; d < layout_.head_size; ++d) to[d] = from[d] * inverse + 0.0f;
    }
  }

  const KvLayout& layout_;
  const AttentionRows& rows_;
  const int first_query_;  // of the rows' queries, numbered by row, then by head
  const int num_queries_;
  const int dims_;
  float* const output_;  // [kQueriesPerPass][dims]
  float* const strips_;  // gathered keys, then values: [2][kKeyBlock][dims]
  Products products_;
  Running running_[kQueriesPerPass];
};

template <typename Products>
void Attend(const KvLayout& layout, const AttentionRows& rows, void* scratch) {
  const int queries = rows.num_rows * layout.group();
  for (int first = 0; first < queries; first += kQueriesPerPass) {
    const int number = Smaller(kQueriesPerPass, queries - first);
    AttentionPass<Products>(layout, rows, first, number, scratch).Run();
  }
}

}  // namespace
}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_ATTENTION_IMPL_H_
