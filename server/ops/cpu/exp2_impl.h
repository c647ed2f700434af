// Included after a vec_*.h.
#ifndef OLMOE_SERVER_OPS_CPU_EXP2_IMPL_H_
#define OLMOE_SERVER_OPS_CPU_EXP2_IMPL_H_

namespace olmoe::ops {
namespace {

// 2^x for x <= 126, within 2 units in the last place; 1 exactly for x = 0, and 0 where
// the result is not a normal number. NaN stays NaN. 2^x = 2^n 2^r with integral n and
// |r| <= 1/2, and a polynomial for 2^r with a relative error below 2e-9 (Remez).
[[gnu::always_inline]] inline Vec::F Exp2(Vec::F x) {
  const Vec::F smallest = Vec::Set(-126.0f);
  const Vec::F clamped = Vec::Max(smallest, x);
  const Vec::F n = Vec::RoundToInteger(clamped);
  const Vec::F r = Vec::Sub(clamped, n);
  Vec::F p = Vec::Set(0x1.41d334p-13f);
  p = Vec::Fma(p, r, Vec::Set(0x1.5f456ap-10f));
  p = Vec::Fma(p, r, Vec::Set(0x1.3b2dbcp-7f));
  p = Vec::Fma(p, r, Vec::Set(0x1.c6aed4p-5f));
  p = Vec::Fma(p, r, Vec::Set(0x1.ebfbdap-3f));
  p = Vec::Fma(p, r, Vec::Set(0x1.62e430p-1f));
  p = Vec::Fma(p, r, Vec::Set(1.0f));
  return Vec::ZeroBelow(x, smallest, Vec::Scale(p, n));
}

}  // namespace
}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_EXP2_IMPL_H_
