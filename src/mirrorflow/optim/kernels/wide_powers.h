// The float32 maps for processors with AVX-512, each in one or more forms, cheapest first. A form is as
// exact as its twin in maps.h where it holds; `run` returns false where it does not, and where no form
// does (infinities, NaN, huge entries) the twin is asked.
#pragma once

#include "wide_functions.h"

namespace {
namespace wide {

struct Form {
  static float unit(double) { return 1; }  // what a step is measured in
};
template <class... Kinds> struct Forms {};
// Forms that compute the new value and not its change ask for steps of at least this size, so that the
// change has digits.
constexpr float smallest_large = 1.f / 16384;

// (√|x| − δ)² with signs; while 2|δ| ≤ √|x|, x − δ(2√|x| − δ).
struct Power15 : Form {
  explicit Power15(double) {}
  MEMBER bool run(F x, F d, F& y) const {
    F m = magnitude(x), r = root(larger(m, all(1.2e-38f))), s = flip_sign(d, x);
    F v = r - s, near = fnma(s, r + v, m), far = v * magnitude(v);
    y = flip_sign(select(at_most(magnitude(s + s), r), near, far), x);
    return all_within(m, 1e38f);
  }
};

// √(x² − δ) with signs.
struct Power3 : Form {
  explicit Power3(double) {}
  MEMBER bool run(F x, F d, F& y) const {
    F m = magnitude(x), v = fms(x, m, d);
    y = flip_sign(root(larger(magnitude(v), all(1.2e-38f))), v);
    y = select(equal(d, all(0)), x, y);
    return all_within(m, 1e18f) && all_within(magnitude(d), 1e36f);
  }
};

// (x³ − δ)^{1/3}: c of 1e-5 by the bits of v, then Newton's step with the residual
// c³ − x³ + δ = (c − x)(c² + c x + x²) + δ, which does not cancel.
LIFT1(inverse_cube_root, V, V,  // to 4 %
      V(_mm512_sub_epi32(_mm512_set1_epi32(0x54a10000),
                         _mm512_mulhi_epu16(BITS(x), _mm512_set1_epi32(0x55550000)))))
template <bool zeros> struct Power4Form : Form {  // zeros: among the steps; they cost a comparison
  explicit Power4Form(double) {}
  MEMBER bool run(F x, F d, F& y) const {
    F x2 = x * x, v = fms(x2, x, d), size = magnitude(v), step = magnitude(d);
    F a = larger_bits(size, minus_bits(step, all(pun<float>(20 << 23))));  // v may vanish
    F r = inverse_cube_root(a), r2 = r * r;
    F e = fnma(a * r, r2, all(1));
    // q = a^{−2/3}; one term less would be below the last digit of one step, but a drift over many
    F q = r2 * polynomial(e, 0.999991896f, 0.666632466f, 0.560990519f, 0.502101751f);
    F c = v * q;
    F residual = fma(c - x, fma(c, c + x, x2), d);
    y = fnma(residual * q, all(1.f / 3), c);
    if (zeros) y = select(equal(d, all(0)), x, y);
    return all_within(size, 1e36f) && (zeros || all_above(step, 0));
  }
};
using Power4 = Forms<Power4Form<false>, Power4Form<true>>;

// m |1 − ρ|^{1/e}, ρ = s m^{−e}, through log2 and exp2 whose integer parts are kept apart; from
// m = 0 it is |s|^{1/e}.
template <bool zeros> struct PowerForm : Form {  // zeros: among the entries or steps, or nearly
  Table32 middle{tables().inverse_middle}, middle_log{tables().log2_middle};
  Table32 inverse{tables().inverse_bits}, log{tables().log2_nearest};
  Table32 power{tables().power}, power_bits{tables().power_bits};
  float smallest, largest;  // entries whose powers are in range
  F e, e_high, e_low, i, i_high, i_low;
  explicit PowerForm(double exponent)
      : smallest(float(std::exp2(-std::min(90 / exponent, 120.)))), largest(1 / smallest) {
    split(-exponent, e, e_high, e_low);
    split(1 / exponent, i, i_high, i_low);
  }
  static void split(double v, F& whole, F& high, F& low) {
    float h = pun<float>(pun<int32_t>(float(v)) & int32_t(0xffff0000));  // k·h is exact
    whole = all(float(v)), high = all(h), low = all(float(v - h));
  }
  struct Exponent {
    F shifted, n, r;  // n + r, n a multiple of 1/32
  };
  static MEMBER Exponent times(F k, F l, F c, F high, F low) {  // c (k + l)
    F shifted = fma(k + l, c, power2_magic()), n = shifted - power2_magic();
    return {shifted, n, fma(l, c, fma(k, low, fms(k, high, n)))};
  }
  MEMBER F ratio(F m, F s) const {  // s m^{−e}, to the digits it has
    F j = leading(m), f = fms(mantissa(m), middle.at(j), all(1));
    F l = fma(f, polynomial(f, 1.44269503f, -0.721420481f, 0.480998062f), middle_log.at(j));
    Exponent t = times(exponent(m), l, e, e_high, e_low);
    F base = s * plus_bits(power_bits.at(t.shifted), scale_bits(t.shifted));
    return fma(base, t.r * polynomial(t.r, 0.693157339f, 0.240228855f), base);
  }
  MEMBER F grown(F m, F v, F rest) const {  // m (v + rest)^{1/e}, exact in its change near v = 1
    F j = leading(v), inv = inverse_of(inverse, v, j), f = fma(rest, inv, fms(v, inv, all(1)));
    F k = exponent(plus_bits(v, all(pun<float>(1 << 22))));  // l = 0 on both sides of 1
    Exponent t = times(k, log2_series(f, log.at(j)), i, i_high, i_low);
    F base = m * scale(power.at(t.shifted), t.n);
    return fma(base, power2_series(t.r), base);
  }
  MEMBER bool run(F x, F d, F& y) const {
    F m = magnitude(x), s = flip_sign(d, x), one = all(1);
    bool dwarfed = true;  // m^e below the last digit of s, for the entries taken as zero
    if (zeros) {
      Mask zero = at_most(m, all(smallest)), still = equal(d, all(0));
      m = select(zero, one, m);
      dwarfed = all_above(select(zero, select(still, one, magnitude(d)), one), 1e-18f);
      one = select(zero, all(0), one);
    }
    F rho = ratio(m, s), w = one - rho, rest = flip_sign((one - w) - rho, w);
    y = flip_sign(flip_sign(grown(m, larger(magnitude(w), all(1.2e-38f)), rest), w), x);
    if (zeros) y = select(equal(d, all(0)), x, y);
    return dwarfed && all_within(m, largest) && all_above(m, smallest) &&
           all_within(magnitude(d), 1e9f);
  }
};
using Power = Forms<PowerForm<false>, PowerForm<true>>;

}  // namespace wide
}  // namespace
