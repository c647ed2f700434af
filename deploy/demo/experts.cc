// The experts of the demonstration model for train.py: forward and backward of
//     out[n] = sum over k of weight[n][k] * down[e] (silu(gate[e] x[n]) * (up[e] x[n])),   e = index[n][k],
// in fp32, on one thread. Built by train.py with the C++ compiler of the system and called through ctypes.
// Layouts, all dense: x, out [N][H]; weight, index [N][K]; gate_up [E][2I][H], gate rows first; down [E][H][I].
// A "pair" is a position n*K+k; order lists the pairs by expert, starts [E+1] bounds each expert's part of it.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int H = 64, I = 32,
              P = 2 * I;  // hidden size, expert width, width of gate and up together

typedef float Lanes __attribute__((vector_size(64), aligned(4)));
constexpr int kLanes = 16;

// C[M][16*NV] = sum over k of A[m*am + k*ak] * B[k*ldb ...].
template <int M, int NV>
inline void tile(long depth, const float* a, long am, long ak, const float* b, long ldb, float* c,
                 long ldc) {
  Lanes sum[M][NV] = {};
  for (long k = 0; k < depth; ++k) {
    Lanes row[NV];
    for (int j = 0; j < NV; ++j) row[j] = *reinterpret_cast<const Lanes*>(b + k * ldb + j * kLanes);
    for (int m = 0; m < M; ++m) {
      const float factor = a[m * am + k * ak];
      for (int j = 0; j < NV; ++j) sum[m][j] += factor * row[j];
    }
  }
  for (int m = 0; m < M; ++m)
    for (int j = 0; j < NV; ++j) *reinterpret_cast<Lanes*>(c + m * ldc + j * kLanes) = sum[m][j];
}

// The same for any number of rows; 24 of the 32 vector registers hold sums.
template <int NV>
void product(long rows, long depth, const float* a, long am, long ak, const float* b, long ldb,
             float* c, long ldc) {
  constexpr int kBlock = 24 / NV;
  long m = 0;
  for (; m + kBlock <= rows; m += kBlock)
    tile<kBlock, NV>(depth, a + m * am, am, ak, b, ldb, c + m * ldc, ldc);
  for (; m + 2 <= rows; m += 2) tile<2, NV>(depth, a + m * am, am, ak, b, ldb, c + m * ldc, ldc);
  for (; m < rows; ++m) tile<1, NV>(depth, a + m * am, am, ak, b, ldb, c + m * ldc, ldc);
}

void transpose(const float* from, int rows, int columns, float* to) {
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; ++c) to[c * rows + r] = from[r * columns + c];
}

// Rows [count][H] of table that belong to the tokens of these pairs.
void gather(const float* table, const int32_t* pairs, long count, int top_k, float* rows) {
  for (long r = 0; r < count; ++r)
    std::memcpy(rows + r * H, table + pairs[r] / top_k * long{H}, H * sizeof(float));
}

void scatter_add(const float* rows, const int32_t* pairs, long count, int top_k, float* table) {
  for (long r = 0; r < count; ++r) {
    float* to = table + pairs[r] / top_k * long{H};
    for (int h = 0; h < H; ++h) to[h] += rows[r * H + h];
  }
}

void sort_by_expert(const int64_t* index, long pairs, int experts, int32_t* order,
                    int32_t* starts) {
  std::memset(starts, 0, (experts + 1) * sizeof(int32_t));
  for (long i = 0; i < pairs; ++i) ++starts[index[i] + 1];
  for (int e = 0; e < experts; ++e) starts[e + 1] += starts[e];
  std::vector<int32_t> next(starts, starts + experts);
  for (long i = 0; i < pairs; ++i) order[next[index[i]]++] = static_cast<int32_t>(i);
}

// inner [count][I] = silu(gate) * up * weight, from projected [count][2I].
void swiglu(const float* projected, const float* weight, const int32_t* pairs, long count,
            float* inner) {
  for (long r = 0; r < count; ++r) {
    const float *gate = projected + r * P, *up = gate + I, w = weight[pairs[r]];
    for (int i = 0; i < I; ++i) inner[r * I + i] = gate[i] / (1 + std::exp(-gate[i])) * up[i] * w;
  }
}

// From grad_inner and projected: grad_projected [count][2I], and grad_weight of each pair.
void swiglu_backward(const float* projected, const float* weight, const float* grad_inner,
                     const int32_t* pairs, long count, float* grad_projected, float* grad_weight) {
  for (long r = 0; r < count; ++r) {
    const float *gate = projected + r * P, *up = gate + I, *grad = grad_inner + r * I,
                w = weight[pairs[r]];
    float *grad_gate = grad_projected + r * P, *grad_up = grad_gate + I, sum = 0;
    for (int i = 0; i < I; ++i) {
      const float sigmoid = 1 / (1 + std::exp(-gate[i])), silu = gate[i] * sigmoid;
      sum += grad[i] * silu * up[i];
      grad_gate[i] = grad[i] * w * up[i] * (sigmoid + silu * (1 - sigmoid));
      grad_up[i] = grad[i] * w * silu;
    }
    grad_weight[pairs[r]] = sum;
  }
}

}  // namespace

extern "C" {

// The sizes this file is built for.
int experts_hidden() { return H; }
int experts_width() { return I; }

// Fills order [N*K], starts [E+1], projected [N*K][2I] (in that order) and out.
void experts_forward(long tokens, int top_k, int experts, const float* x, const float* weight,
                     const int64_t* index, const float* gate_up, const float* down, int32_t* order,
                     int32_t* starts, float* projected, float* out) {
  sort_by_expert(index, tokens * top_k, experts, order, starts);
  std::memset(out, 0, tokens * H * sizeof(float));
  std::vector<float> matrix(H * P), rows(tokens * H), inner(tokens * I);
  for (int e = 0; e < experts; ++e) {
    const int32_t* pairs = order + starts[e];
    const long count = starts[e + 1] - starts[e];
    float* mine = projected + starts[e] * long{P};
    gather(x, pairs, count, top_k, rows.data());
    transpose(gate_up + e * long{P * H}, P, H, matrix.data());
    product<P / kLanes>(count, H, rows.data(), H, 1, matrix.data(), P, mine, P);
    swiglu(mine, weight, pairs, count, inner.data());
    transpose(down + e * long{H * I}, H, I, matrix.data());
    product<H / kLanes>(count, I, inner.data(), I, 1, matrix.data(), H, rows.data(), H);
    scatter_add(rows.data(), pairs, count, top_k, out);
  }
}

// Fills grad_x, grad_weight, grad_gate_up and grad_down.
void experts_backward(long tokens, int top_k, int experts, const float* x, const float* weight,
                      const float* gate_up, const float* down, const int32_t* order,
                      const int32_t* starts, const float* projected, const float* grad_out,
                      float* grad_x, float* grad_weight, float* grad_gate_up, float* grad_down) {
  std::memset(grad_x, 0, tokens * H * sizeof(float));
  std::vector<float> rows(tokens * H), grad_rows(tokens * H), inner(tokens * I),
      grad_inner(tokens * I);
  std::vector<float> grad_projected(tokens * P);
  for (int e = 0; e < experts; ++e) {
    const int32_t* pairs = order + starts[e];
    const long count = starts[e + 1] - starts[e];
    const float* mine = projected + starts[e] * long{P};
    gather(grad_out, pairs, count, top_k, grad_rows.data());
    swiglu(mine, weight, pairs, count, inner.data());
    product<I / kLanes>(H, count, grad_rows.data(), 1, H, inner.data(), I,
                        grad_down + e * long{H * I}, I);
    product<I / kLanes>(count, H, grad_rows.data(), H, 1, down + e * long{H * I}, I,
                        grad_inner.data(), I);
    swiglu_backward(mine, weight, grad_inner.data(), pairs, count, grad_projected.data(),
                    grad_weight);
    gather(x, pairs, count, top_k, rows.data());
    product<H / kLanes>(P, count, grad_projected.data(), 1, P, rows.data(), H,
                        grad_gate_up + e * long{P * H}, H);
    product<H / kLanes>(count, P, grad_projected.data(), P, 1, gate_up + e * long{P * H}, H,
                        rows.data(), H);
    scatter_add(rows.data(), pairs, count, top_k, grad_x);
  }
}

}  // extern "C"
