// The float32 maps for processors with AVX-512, each in one or more forms, cheapest first. A form is as
// exact as its twin in maps.h where it holds; `run` returns false where it does not, and where no form
// does (infinities, NaN, huge entries) the twin is asked.
#pragma once

#include "wide_functions.h"

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

// (x³ − δ)^{1/3}: c of 1e-4 by the bits of v, then Newton's step with the residual
// c³ − x³ + δ = (c − x)(c² + c x + x²) + δ, which does not cancel.
LIFT1(inverse_cube_root, V, V,  // times 1.14, to 3 %
      V(_mm512_sub_epi32(_mm512_set1_epi32(0x54b90000),
                         _mm512_mulhi_epu16(BITS(x), _mm512_set1_epi32(0x55550000)))))
template <bool zeros> struct Power4Form : Form {  // zeros: among the steps; they cost a comparison
  explicit Power4Form(double) {}
  MEMBER bool run(F x, F d, F& y) const {
    F x2 = x * x, v = fms(x2, x, d), size = magnitude(v), step = magnitude(d);
    F a = larger_bits(size, minus_bits(step, all(pun<float>(20 << 23))));  // v may vanish
    F r = inverse_cube_root(a), r2 = r * r;
    F e = fnma(a * r, r2, all(1));
    F q = r2 * polynomial(e, 0.982403253f, 0.536454775f, 0.195744792f);  // a^{−2/3}
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
  Table32 middle{tables.inverse_middle}, middle_log{tables.log2_middle};
  Table32 inverse{tables.inverse_bits}, log{tables.log2_nearest};
  Table32 power{tables.power}, power_bits{tables.power_bits};
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

// x cosh δ − √(x² + β²) sinh δ, by the series of both
struct HyperbolicEntropySmall : Form {
  F beta2;
  explicit HyperbolicEntropySmall(double b) : beta2(all(float(b) * float(b))) {}
  MEMBER bool run(F x, F d, F& y) const {
    F g = root(fma(x, x, beta2)), z = d * d;
    F sinh = d * polynomial(z, 1.0000001f, 0.166659651f, 0.00840805106f);
    F cosh = z * polynomial(z, 0.5f, 0.0416658947f, 0.00139788446f);
    y = x + fnma(g, sinh, x * cosh);
    return all_within(magnitude(d), 0.5f) && all_within(magnitude(x), 1e15f);
  }
};
// and by the exponential, without cancellation.
struct HyperbolicEntropyLarge : Form {
  Exponential2 exponential;
  F beta2, half_beta2;
  explicit HyperbolicEntropyLarge(double b)
      : beta2(all(float(b) * float(b))), half_beta2(all(0.5f * float(b) * float(b))) {}
  MEMBER bool run(F x, F d, F& y) const {
    F m = magnitude(x), s = flip_sign(d, x), g = square_root(fma(x, x, beta2));
    auto [value, minus1] = exponential.of_minus(s);
    F k = quotient(half_beta2 * (all(1) + value), (g + m) * value);
    y = flip_sign(fma(m, value, minus1 * k), x);
    return all_within(magnitude(d), 40) && all_within(m, 1e15f);
  }
};
using HyperbolicEntropy = Forms<HyperbolicEntropySmall, HyperbolicEntropyLarge>;

// (|x| + β) e^{−s} − β, and on the other side of 0 where that is negative.
struct LogarithmicSmall : Form {
  F beta;
  explicit LogarithmicSmall(double b) : beta(all(float(b))) {}
  MEMBER bool run(F x, F d, F& y) const {
    F m = magnitude(x), s = flip_sign(d, x);
    F v = fma(m + beta, s * polynomial(s, -1.f, 0.500030616f, -0.166676871f), m);
    F across = v * quotient(beta, v + beta);
    y = flip_sign(select(below(v, all(0)), across, v), x);
    return all_within(magnitude(d), 1.f / 32) && all_within(m, 1e15f);
  }
};
struct LogarithmicLarge : Form {
  Exponential2 exponential;
  F beta;
  explicit LogarithmicLarge(double b) : beta(all(float(b))) {}
  MEMBER bool run(F x, F d, F& y) const {
    F m = magnitude(x), s = flip_sign(d, x), w = m + beta;
    auto [value, minus1] = exponential.of_minus(s);
    F moved = w * value;
    F v = select(at_most(magnitude(s), all(0.5f)), fma(w, minus1, m), moved - beta);
    F across = v * quotient(beta, moved);
    y = flip_sign(select(below(v, all(0)), across, v), x);
    return all_within(magnitude(d), 40) && all_within(m, 1e15f);
  }
};
using Logarithmic = Forms<LogarithmicSmall, LogarithmicLarge>;

// asinh(sinh v − t), v = x/scale and t = δ/scale.
struct CoshForm : Form {
  F size, inverse;
  explicit CoshForm(double s) : size(all(float(s))), inverse(all(float(1 / s))) {}
  static float unit(double s) { return float(1 / s); }
};
// c₀ + c₁ v² + …, times factor, as a polynomial in x².
template <int n> struct Even {
  F c[n];
  Even(double scale, double factor, const double (&of_v)[n]) {
    for (int k = 0; k < n; ++k, factor /= scale * scale) c[k] = all(float(factor * of_v[k]));
  }
  MEMBER F operator()(F z) const {
    F p = c[n - 1];
    for (int k = n - 2; k >= 0; --k) p = fma(z, p, c[k]);
    return p;
  }
};
INLINE float reach(double scale, double v) {  // −1: nowhere, since a coefficient may not be a float
  return scale > 1e-3 && scale < 1e3 ? float(v * scale) : -1.f;
}
// Taylor's series of it in q = t/cosh v.
struct CoshSmall : CoshForm {
  float most;
  Even<4> sech;
  Even<3> half_tanh;
  explicit CoshSmall(double s)
      : CoshForm(s), most(reach(s, 0.5)),
        sech(s, 1, {0.999999949, -0.499948629, 0.206718594, -0.0713891023}),
        half_tanh(s, 1 / s, {0.499989149, -0.165859459, 0.0576595759}) {}
  MEMBER bool run(F x, F t, F& y) const {
    F z = x * x, q = t * sech(z), half = x * half_tanh(z);
    F change = fma(q * q, fma(q, fma(half, half + half, all(-1.f / 6)), half), q);
    y = fnma(change, size, x);
    return all_within(magnitude(t), 1.f / 64) && all_within(magnitude(x), most);
  }
};
// By sinh and asinh, whose errors are below the last digit of v, not of a small change: asinh by a
// rational function,
struct CoshLarge : CoshForm {
  float most;
  Even<5> sinh, over;
  explicit CoshLarge(double s)
      : CoshForm(s), most(reach(s, 2.1)),
        sinh(s, 1 / s, {1.00000006, 0.166665859, 0.00833491117, 0.000197360969, 3.03568267e-06}),
        over(1, s, {0.999999959, 1.20338253, 0.389752985, 0.0349332946, 0.000593490082}) {}
  MEMBER bool run(F x, F t, F& y) const {
    F left = x * sinh(x * x) - t, w = left * left;
    F under = polynomial(w, 1.f, 1.37004676f, 0.543116971f, 0.067256217f, 0.00203522263f,
                         5.62069918e-06f);
    y = quotient(left * over(w), under);
    return all_above(magnitude(t), smallest_large) && all_within(magnitude(x), most) &&
           all_within(magnitude(left), 4);
  }
};
// or as log1p(L + L²/(1 + √(1 + L²))).
struct CoshHuge : CoshForm {
  Exponential2 exponential;
  Logarithm1p log1p;
  using CoshForm::CoshForm;
  MEMBER bool run(F x, F t, F& y) const {
    F m = magnitude(x * inverse);
    auto [P, f] = exponential(m);
    F left = flip_sign(all(0.5f) * (f + quotient(f, P)), x) - t, L = magnitude(left);
    F z = fma(L, quotient(L, all(1) + square_root(fma(L, L, all(1)))), L);
    y = flip_sign(size * log1p(z), left);
    F step = magnitude(t);
    return all_above(step, smallest_large) && all_within(step, 1e12f) && all_within(m, 30);
  }
};
// With P = e^v, S = sinh v, R = √(1 + (S − t)²): v + log1p(−t (1 + (R + S − t)/P)/(R + cosh v))
// while S − t ≥ 0, else −asinh|S − t|.
struct CoshMixed : CoshForm {
  Exponential2 exponential;
  Logarithm1p log1p;
  using CoshForm::CoshForm;
  MEMBER bool run(F x, F t, F& y) const {
    F m = magnitude(x * inverse), s = flip_sign(t, x);
    auto [P, f] = exponential(m);
    F E = reciprocal(P), S = all(0.5f) * f * (all(1) + E), left = S - s, L = magnitude(left);
    F R = root(fma(left, left, all(1)));
    Mask same = at_most(all(0), left);
    F over = select(same, (all(0) - s) * fma(E, R + left, all(1)), L * (all(1) + (R + L)));
    F under = R + select(same, S + E, all(1));
    F l = log1p(over * reciprocal(under)) ;
    y = flip_sign(size * select(same, m + l, all(0) - l), x);
    return all_within(m, 30) && all_within(magnitude(s), 1e12f);
  }
};
using Cosh = Forms<CoshSmall, CoshLarge, CoshHuge, CoshMixed>;

// log(e^m − s): by the series of the change
struct ExponentialSmall : Form {
  explicit ExponentialSmall(double) {}
  MEMBER bool run(F x, F d, F& y) const {
    F m = magnitude(x), s = flip_sign(d, x);
    F E = polynomial(m, 0.999999925f, -0.99998696f, 0.499654041f, -0.163961611f, 0.0337135735f);
    F f = m * polynomial(m, 1.f, 0.499976797f, 0.168637801f);  // counts while ≤ 1/32
    Mask same = at_most(s, f);
    F z = select(same, all(0) - s * E, s - f);
    F l = z * polynomial(z, 1.f, -0.5f, 0.3335294f, -0.250245118f);
    y = flip_sign(select(same, m + l, all(0) - l), x);
    return all_within(magnitude(d), 1.f / 32) && all_within(m, 0.5f);
  }
};
// by a polynomial and a rational function,
struct ExponentialLarge : Form {
  explicit ExponentialLarge(double) {}
  MEMBER bool run(F x, F d, F& y) const {
    F m = magnitude(x);
    F f = m * polynomial(m, 0.99999999f, 0.500000792f, 0.166656478f, 0.0417155456f, 0.00822036869f,
                         0.00152763566f, 0.00010700872f, 5.40099371e-05f);
    F left = f - flip_sign(d, x), z = magnitude(left);
    F over = polynomial(z, 0.999999937f, 1.06348435f, 0.261165496f, 0.0113296905f);
    F under = polynomial(z, 1.f, 1.56348004f, 0.709619285f, 0.094771997f, 0.0022346227f);
    y = flip_sign(quotient(left * over, under), x);
    return all_above(magnitude(d), smallest_large) && all_within(m, 1.75f) && all_within(z, 5);
  }
};
// by tables,
struct ExponentialHuge : Form {
  Exponential2 exponential;
  Logarithm1p log1p;
  explicit ExponentialHuge(double) {}
  MEMBER bool run(F x, F d, F& y) const {
    F m = magnitude(x), step = magnitude(d), left = exponential(m).minus1 - flip_sign(d, x);
    y = flip_sign(flip_sign(log1p(magnitude(left)), left), x);
    return all_above(step, smallest_large) && all_within(step, 1e12f) && all_within(m, 30);
  }
};
// and as m plus the change.
struct ExponentialMixed : ExponentialHuge {
  using ExponentialHuge::ExponentialHuge;
  MEMBER bool run(F x, F d, F& y) const {
    F m = magnitude(x), s = flip_sign(d, x);
    auto [P, f] = exponential(m);
    F left = f - s;
    Mask same = at_most(all(0), left);
    F z = select(same, (all(0) - s) * reciprocal(P), all(0) - left);
    F l = log1p(z);
    y = flip_sign(select(same, m + l, all(0) - l), x);
    return all_within(m, 30) && all_within(magnitude(s), 1e30f);
  }
};
using Exponential = Forms<ExponentialSmall, ExponentialLarge, ExponentialHuge, ExponentialMixed>;

}  // namespace wide
