// The float32 maps with exponentials for processors with AVX-512, in forms as in wide_powers.h.
#pragma once

#include "wide_powers.h"

namespace {
namespace wide {

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
    F l = log1p(over * reciprocal(under));
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
}  // namespace
