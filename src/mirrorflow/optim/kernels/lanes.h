// Several vectors of sixteen float32 that go through the same operations side by side: one chain of
// dependent operations alone would leave the arithmetic units waiting.
#pragma once

#include <immintrin.h>

#include <algorithm>

#include "maps.h"

namespace wide {

template <class T> struct Two {
  T a, b;
};
using V = __m512;
using F = Two<V>;
using Mask = Two<__mmask16>;
constexpr int lanes = 32;

#define LIFT1(name, From, To, expression) \
  INLINE To name(From x) { return expression; } \
  INLINE Two<To> name(Two<From> v) { return {name(v.a), name(v.b)}; }
#define LIFT2(name, A, B, To, expression) \
  INLINE To name(A x, B y) { return expression; } \
  INLINE Two<To> name(Two<A> v, Two<B> w) { return {name(v.a, w.a), name(v.b, w.b)}; }
#define LIFT3(name, A, B, C, To, expression) \
  INLINE To name(A x, B y, C z) { return expression; } \
  INLINE Two<To> name(Two<A> u, Two<B> v, Two<C> w) { \
    return {name(u.a, v.a, w.a), name(u.b, v.b, w.b)}; \
  }

INLINE F load(const float* from) { return {_mm512_loadu_ps(from), _mm512_loadu_ps(from + 16)}; }
INLINE void store(float* to, F v) {
  _mm512_storeu_ps(to, v.a);
  _mm512_storeu_ps(to + 16, v.b);
}
INLINE void fetch(const float* from) {  // what will be needed next; past an end it does nothing
  _mm_prefetch(reinterpret_cast<const char*>(from + 128), _MM_HINT_T0);
  _mm_prefetch(reinterpret_cast<const char*>(from + 144), _MM_HINT_T0);
}
INLINE F all(float v) { return {_mm512_set1_ps(v), _mm512_set1_ps(v)}; }
INLINE F operator+(F x, F y) { return {x.a + y.a, x.b + y.b}; }
INLINE F operator-(F x, F y) { return {x.a - y.a, x.b - y.b}; }
INLINE F operator*(F x, F y) { return {x.a * y.a, x.b * y.b}; }
INLINE Mask operator&(Mask x, Mask y) { return {__mmask16(x.a & y.a), __mmask16(x.b & y.b)}; }
INLINE Mask operator|(Mask x, Mask y) { return {__mmask16(x.a | y.a), __mmask16(x.b | y.b)}; }
LIFT3(fma, V, V, V, V, _mm512_fmadd_ps(x, y, z))    // x y + z
LIFT3(fms, V, V, V, V, _mm512_fmsub_ps(x, y, z))    // x y − z
LIFT3(fnma, V, V, V, V, _mm512_fnmadd_ps(x, y, z))  // z − x y
LIFT3(select, __mmask16, V, V, V, _mm512_mask_mov_ps(z, x, y))  // x ? y : z
LIFT1(magnitude, V, V, _mm512_abs_ps(x))
LIFT1(reciprocal14, V, V, _mm512_rcp14_ps(x))
LIFT1(root14, V, V, _mm512_rsqrt14_ps(x))
LIFT1(exponent, V, V, _mm512_getexp_ps(x))
LIFT1(mantissa, V, V, _mm512_getmant_ps(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_zero))
LIFT2(scale, V, V, V, _mm512_scalef_ps(x, y))  // x 2^⌊y⌋
LIFT2(larger, V, V, V, _mm512_max_ps(x, y))
LIFT2(at_most, V, V, __mmask16, _mm512_cmp_ps_mask(x, y, _CMP_LE_OQ))  // false for NaN
LIFT2(below, V, V, __mmask16, _mm512_cmp_ps_mask(x, y, _CMP_LT_OQ))
LIFT2(equal, V, V, __mmask16, _mm512_cmp_ps_mask(x, y, _CMP_EQ_OQ))
LIFT2(masked, __mmask16, V, V, _mm512_maskz_mov_ps(x, y))  // x ? y : 0
// x, negated where y is; y with the sign of x: (a & ~sign) | (b & sign).
LIFT2(flip_sign, V, V, V, V(_mm512_ternarylogic_epi32(__m512i(x), __m512i(y), _mm512_set1_epi32(1 << 31), 0x78)))

INLINE bool every(Mask m) { return __builtin_expect(__mmask16(m.a & m.b) == 0xffff, 1); }
INLINE Mask at_most(F x, float bound) { return at_most(x, all(bound)); }

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

struct Table16 {
  V entries;
  explicit Table16(const float* t) : entries(_mm512_load_ps(t)) {}
  MEMBER V at(V index) const { return _mm512_permutexvar_ps(__m512i(index), entries); }
  MEMBER F at(F index) const { return {at(index.a), at(index.b)}; }
};
struct Table32 {
  V low, high;
  explicit Table32(const float* t) : low(_mm512_load_ps(t)), high(_mm512_load_ps(t + 16)) {}
  MEMBER V at(V index) const { return _mm512_permutex2var_ps(low, __m512i(index), high); }
  MEMBER F at(F index) const { return {at(index.a), at(index.b)}; }
};
LIFT1(leading, V, V, V(_mm512_srli_epi32(__m512i(x), 18)))  // five bits of the mantissa, last

}  // namespace wide
