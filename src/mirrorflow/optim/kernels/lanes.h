// Several vectors of sixteen float32 that go through the same operations side by side: one chain of
// dependent operations alone would leave the arithmetic units waiting.
#pragma once

#include <immintrin.h>

#include <algorithm>

#include "maps.h"

namespace {
namespace wide {

template <class T> struct Two {
  T a, b;
};
using V = __m512;
using F = Two<Two<V>>;
using Mask = Two<Two<__mmask16>>;
constexpr int lanes = sizeof(F) / sizeof(float);

// An operation of one vector, and of as many side by side as its arguments hold.
#define LIFT1(name, A, Result, expression) \
  INLINE Result name(A x) { return expression; } \
  template <class T> INLINE auto name(Two<T> v)->Two<decltype(name(v.a))> { \
    return {name(v.a), name(v.b)}; \
  }
#define LIFT2(name, A, B, Result, expression) \
  INLINE Result name(A x, B y) { return expression; } \
  template <class T, class U> INLINE auto name(Two<T> v, Two<U> w)->Two<decltype(name(v.a, w.a))> { \
    return {name(v.a, w.a), name(v.b, w.b)}; \
  }
#define LIFT3(name, A, B, C, Result, expression) \
  INLINE Result name(A x, B y, C z) { return expression; } \
  template <class S, class T, class U> \
  INLINE auto name(Two<S> u, Two<T> v, Two<U> w)->Two<decltype(name(u.a, v.a, w.a))> { \
    return {name(u.a, v.a, w.a), name(u.b, v.b, w.b)}; \
  }
#define OPERATOR(op) \
  template <class T> INLINE Two<T> operator op(Two<T> v, Two<T> w) { \
    return {T(v.a op w.a), T(v.b op w.b)}; \
  }
#define BITS(x) __m512i(x)

INLINE void load(const float* from, V& v) { v = _mm512_loadu_ps(from); }
INLINE void store(float* to, V v) { _mm512_storeu_ps(to, v); }
INLINE void fill(V& v, float c) { v = _mm512_set1_ps(c); }
template <class T> INLINE void load(const float* from, Two<T>& v) {
  load(from, v.a);
  load(from + sizeof(T) / sizeof(float), v.b);
}
template <class T> INLINE void store(float* to, Two<T> v) {
  store(to, v.a);
  store(to + sizeof(T) / sizeof(float), v.b);
}
template <class T> INLINE void fill(Two<T>& v, float c) {
  fill(v.a, c);
  fill(v.b, c);
}
INLINE F load(const float* from) {
  F v;
  load(from, v);
  return v;
}
INLINE F all(float c) {
  F v;
  fill(v, c);
  return v;
}
INLINE void fetch(const float* from) {  // what comes next, no farther: the processor looks ahead itself
  for (int j = lanes; j < 2 * lanes; j += 16)
    _mm_prefetch(reinterpret_cast<const char*>(from + j), _MM_HINT_T0);
}
OPERATOR(+)
OPERATOR(-)
OPERATOR(*)
OPERATOR(&)
OPERATOR(|)
LIFT3(fma, V, V, V, V, _mm512_fmadd_ps(x, y, z))    // x y + z
LIFT3(fms, V, V, V, V, _mm512_fmsub_ps(x, y, z))    // x y − z
LIFT3(fnma, V, V, V, V, _mm512_fnmadd_ps(x, y, z))  // z − x y
LIFT3(select, __mmask16, V, V, V, _mm512_mask_mov_ps(z, x, y))  // x ? y : z
LIFT2(quotient, V, V, V, _mm512_div_ps(x, y))
LIFT1(square_root, V, V, _mm512_sqrt_ps(x))
LIFT1(magnitude, V, V, _mm512_abs_ps(x))
LIFT1(reciprocal14, V, V, _mm512_rcp14_ps(x))
LIFT1(root14, V, V, _mm512_rsqrt14_ps(x))
LIFT1(exponent, V, V, _mm512_getexp_ps(x))
LIFT1(mantissa, V, V, _mm512_getmant_ps(x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero))
LIFT2(scale, V, V, V, _mm512_scalef_ps(x, y))  // x 2^⌊y⌋
LIFT2(larger, V, V, V, _mm512_max_ps(x, y))
LIFT2(at_most, V, V, __mmask16, _mm512_cmp_ps_mask(x, y, _CMP_LE_OQ))  // false for NaN
LIFT2(below, V, V, __mmask16, _mm512_cmp_ps_mask(x, y, _CMP_LT_OQ))
LIFT2(equal, V, V, __mmask16, _mm512_cmp_ps_mask(x, y, _CMP_EQ_OQ))
// x, negated where y is; y with the sign of x: (a & ~sign) | (b & sign).
LIFT2(flip_sign, V, V, V, V(_mm512_ternarylogic_epi32(BITS(x), BITS(y), _mm512_set1_epi32(1 << 31), 0x78)))

// The same on the bits. Those of floats ≥ 0 are ordered as the floats are, NaN above all.
LIFT2(plus_bits, V, V, V, V(_mm512_add_epi32(BITS(x), BITS(y))))
LIFT2(minus_bits, V, V, V, V(_mm512_sub_epi32(BITS(x), BITS(y))))
LIFT2(larger_bits, V, V, V, V(_mm512_max_epi32(BITS(x), BITS(y))))
LIFT2(smaller_bits, V, V, V, V(_mm512_min_epi32(BITS(x), BITS(y))))
LIFT1(exponent_bits, V, V, V(_mm512_and_si512(BITS(x), _mm512_set1_epi32(0x7f800000))))
LIFT1(leading, V, V, V(_mm512_srli_epi32(BITS(x), 18)))  // five bits of the mantissa come last

// Asks all entries at once: the extremes of the vectors first, then one comparison.
INLINE V top(V v) { return v; }
template <class T> INLINE V top(Two<T> v) { return larger_bits(top(v.a), top(v.b)); }
INLINE V bottom(V v) { return v; }
template <class T> INLINE V bottom(Two<T> v) { return smaller_bits(bottom(v.a), bottom(v.b)); }
INLINE bool all_within(F magnitudes, float bound) {  // no NaN, none above the bound
  auto above = _mm512_cmpgt_epi32_mask(BITS(top(magnitudes)), _mm512_set1_epi32(pun<int>(bound)));
  return __builtin_expect(above == 0, 1);
}
INLINE bool all_above(F magnitudes, float bound) {
  auto below = _mm512_cmple_epi32_mask(BITS(bottom(magnitudes)), _mm512_set1_epi32(pun<int>(bound)));
  return __builtin_expect(below == 0, 1);
}

INLINE F polynomial(F, float c) { return all(c); }
template <class... C> INLINE F polynomial(F z, float c, C... rest) {  // c + z (…)
  return fma(z, polynomial(z, rest...), all(c));
}

INLINE F reciprocal(F v) {  // 1/v to one unit in the last place
  F r = reciprocal14(v);
  return fma(r, fnma(v, r, all(1)), r);
}
INLINE F root(F v) {  // √v to half a unit in the last place, v > 0 and normal
  F r = root14(v), a = v * r;
  return fma(fnma(a, a, v), all(0.5f) * r, a);
}

struct Table32 {
  V low, high;
  explicit Table32(const float* t) : low(_mm512_load_ps(t)), high(_mm512_load_ps(t + 16)) {}
  MEMBER V at(V index) const { return _mm512_permutex2var_ps(low, BITS(index), high); }
  template <class T> MEMBER Two<T> at(Two<T> index) const { return {at(index.a), at(index.b)}; }
};

}  // namespace wide
}  // namespace
