// Included after vec_avx2.h or vec_avx512.h.
#ifndef OLMOE_SERVER_OPS_CPU_SWIGLU_IMPL_H_
#define OLMOE_SERVER_OPS_CPU_SWIGLU_IMPL_H_

namespace olmoe::ops {
namespace {

// e^x within 2 ulp: 2^n e^r with |r| <= ln(2)/2, and a polynomial for e^r (Cephes expf).
// Infinity and 0 beyond the range of float32; NaN stays NaN.
[[gnu::always_inline]] inline Vec::F Exp(Vec::F x) {
  const Vec::F limited = Vec::Min(Vec::Set(128.0f), Vec::Max(Vec::Set(-128.0f), x));
  const Vec::F n = Vec::RoundToInteger(Vec::Mul(limited, Vec::Set(1.44269504f)));
  Vec::F r = Vec::Fma(n, Vec::Set(-0.693359375f), limited);
  r = Vec::Fma(n, Vec::Set(2.12194440e-4f), r);
  Vec::F p = Vec::Set(1.9875691500e-4f);
  p = Vec::Fma(p, r, Vec::Set(1.3981999507e-3f));
  p = Vec::Fma(p, r, Vec::Set(8.3334519073e-3f));
  p = Vec::Fma(p, r, Vec::Set(4.1665795894e-2f));
  p = Vec::Fma(p, r, Vec::Set(1.6666665459e-1f));
  p = Vec::Fma(p, r, Vec::Set(5.0000001201e-1f));
  const Vec::F fraction = Vec::Add(Vec::Fma(Vec::Mul(p, r), r, r), Vec::Set(1.0f));
  return Vec::ScaleGradually(fraction, n);
}

// silu(gate) * up.
[[gnu::always_inline]] inline Vec::F SwiGluOf(Vec::F gate, Vec::F up) {
  const Vec::F decay = Exp(Vec::Sub(Vec::Zero(), gate));
  return Vec::Mul(Vec::Div(gate, Vec::Add(Vec::Set(1.0f), decay)), up);
}

}  // namespace
}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_SWIGLU_IMPL_H_
