// The float32 maps for processors with AVX-512. Every form is as exact as its twin in maps.h, which is
// asked where a form does not hold (`run` returns false): infinities, NaN, huge entries.
#pragma once

#include "wide_functions.h"

namespace wide {

// (√|x| − δ)² with signs; while 2|δ| ≤ √|x|, x − δ(2√|x| − δ).
struct Power15 {
  explicit Power15(float) {}
  MEMBER bool run(F x, F d, F& y) const {
    F m = magnitude(x), r = root(larger(m, all(1.2e-38f))), s = flip_sign(d, x);
    F v = r - s, near = fnma(s, r + v, m), far = v * magnitude(v);
    y = flip_sign(select(at_most(magnitude(s + s), r), near, far), x);
    return every(at_most(m, 1e38f));
  }
};

// √(x² − δ) with signs.
struct Power3 {
  explicit Power3(float) {}
  MEMBER bool run(F x, F d, F& y) const {
    F v = fms(x, magnitude(x), d), m = magnitude(v);
    y = flip_sign(root(larger(m, all(1.2e-38f))), v);
    return every(at_most(m, 1e38f));
  }
};

// (x³ − δ)^{1/3}: c of 1e-5 by the bits of v, then Newton's step with the residual
// c³ − x³ + δ = (c − x)(c² + c x + x²) + δ, which does not cancel.
LIFT1(inverse_cube_root, V, V,  // to 4 %
      V(_mm512_sub_epi32(_mm512_set1_epi32(0x54a10000),
                         _mm512_mulhi_epu16(__m512i(x), _mm512_set1_epi32(0x55550000)))))
struct Power4 {
  explicit Power4(float) {}
  MEMBER bool run(F x, F d, F& y) const {
    F x2 = x * x, v = fms(x2, x, d);
    F a = fma(magnitude(d), all(1.f / (1 << 20)), magnitude(v));  // v may vanish
    F r = inverse_cube_root(a), r2 = r * r;
    F e = fnma(a * r, r2, all(1));
    F q = r2 * polynomial(e, 0.999991896f, 0.666632466f, 0.560990519f, 0.502101751f);  // a^{−2/3}
    F c = v * q;
    F residual = fma(c - x, fma(c, c + x, x2), d);
    y = fnma(residual * q, all(1.f / 3), c);
    return every(at_most(magnitude(v), 1e36f));
  }
};

// m |1 − ρ|^{1/e}, ρ = s m^{−e}, through log2 and exp2 whose integer parts are kept apart; from
// m = 0 it is |s|^{1/e}.
struct Power {
  Table32 inverse{tables.inverse_middle}, log{tables.log2_middle}, log_floor{tables.log2_floor};
  Table16 power{tables.power};
  F e, e_high, e_low, i, i_high, i_low;
  explicit Power(double exponent) {
    split(-exponent, e, e_high, e_low);
    split(1 / exponent, i, i_high, i_low);
  }
  static void split(double v, F& whole, F& high, F& low) {
    float h = pun<float>(pun<int32_t>(float(v)) & int32_t(0xffff0000));  // k·h is exact
    whole = all(float(v)), high = all(h), low = all(float(v - h));
  }
  struct Log {
    F k, l;  // log2 v = k + l
  };
  MEMBER F series(F f, F start) const {
    return fma(f, polynomial(f, 1.44269504f, -0.721349383f, 0.480952856f, -0.351987216f), start);
  }
  MEMBER Log log2(F v) const {
    F m = mantissa(v), j = leading(m), f = fms(m, inverse.at(j), all(1));
    return {exponent(v), series(f, log_floor.at(j))};
  }
  MEMBER Log log2(F v, F rest) const {  // of v + rest, to the last digits near 1
    F m = mantissa(v), j = leading(m), inv = inverse.at(j);
    F f = fma(rest, inv, fms(m, inv, all(1)));
    return {exponent(v * all(4.f / 3)), series(f, log.at(j))};
  }
  struct Exp {
    F scale, minus1, n;  // 2^n' (1 + minus1), n' = n to a sixteenth
  };
  MEMBER Exp exp2(Log v, F c, F high, F low) const {  // of c log2 v
    const F magic = all(1.5f * (1 << 19));
    F shifted = fma(v.k + v.l, c, magic), n = shifted - magic;
    F r = fma(v.l, c, fma(v.k, low, fms(v.k, high, n)));
    F p = r * polynomial(r, 0.693147181f, 0.240226507f, 0.0555057466f);
    return {scale(power.at(shifted), n), p, n};
  }
  MEMBER bool run(F x, F d, F& y) const {
    F m = magnitude(x), s = flip_sign(d, x);
    Mask zero = equal(m, all(0));
    Exp up = exp2(log2(m), e, e_high, e_low);
    F ratio = s * fma(up.scale, up.minus1, up.scale), w = all(1) - ratio;
    Mask near = below(magnitude(ratio), all(0.5f));
    F v = select(zero, all(0) - s, w), rest = masked(near, (all(1) - w) - ratio);
    Exp down = exp2(log2(larger(magnitude(v), all(1.2e-38f)), rest), i, i_high, i_low);
    F base = down.scale * select(zero, all(1), m);
    y = flip_sign(flip_sign(fma(base, down.minus1, base), v), x);
    return every(at_most(magnitude(up.n), 90) | zero) && every(at_most(magnitude(s), 1e9f));
  }
};

struct HyperbolicEntropy {
  Exponential2 exponential;
  F beta2, half_beta2;
  explicit HyperbolicEntropy(float b) : beta2(all(b * b)), half_beta2(all(0.5f * b * b)) {}
  MEMBER bool run(F x, F d, F& y) const {
    if (!every(at_most(magnitude(x), 1e15f))) return false;
    F g = root(fma(x, x, beta2));
    if (every(at_most(magnitude(d), 0.5f))) {  // x cosh δ − √(x² + β²) sinh δ
      F z = d * d;
      F sinh = d * polynomial(z, 1.0000001f, 0.166659651f, 0.00840805106f);
      F cosh = z * polynomial(z, 0.5f, 0.0416658947f, 0.00139788446f);
      y = x + fnma(g, sinh, x * cosh);
      return true;
    }
    F m = magnitude(x), s = flip_sign(d, x);
    auto [value, minus1] = exponential(all(0) - s);
    F k = half_beta2 * (all(1) + value) * reciprocal((g + m) * value);
    y = flip_sign(fma(m, value, minus1 * k), x);
    return every(at_most(magnitude(d), 40));
  }
};

struct Logarithmic {
  Exponential2 exponential;
  F beta;
  explicit Logarithmic(float b) : beta(all(b)) {}
  MEMBER bool run(F x, F d, F& y) const {
    F m = magnitude(x), s = flip_sign(d, x), w = m + beta, v, across;
    if (every(at_most(magnitude(d), 1.f / 32))) {
      F f = s * polynomial(s, -1.f, 0.500030616f, -0.166676871f);
      v = fma(w, f, m);
      across = v + beta;
    } else {
      auto [value, minus1] = exponential(all(0) - s);
      across = w * value;
      v = select(at_most(magnitude(s), 0.5f), fma(w, minus1, m), across - beta);
      if (!every(at_most(magnitude(d), 40))) return false;
    }
    Mask crossed = below(v, all(0));
    v = select(crossed, v * (beta * reciprocal(across)), v);
    y = flip_sign(v, x);
    return every(at_most(m, 1e15f));
  }
};

struct Cosh {
  Exponential2 exponential;
  Logarithm1p log1p;
  F size, inverse;
  explicit Cosh(float s) : size(all(s)), inverse(all(1 / s)) {}
  MEMBER bool run(F x, F d, F& y) const {
    F v = x * inverse, t = d * inverse;
    if (every((at_most(magnitude(t), 1.f / 64) & at_most(magnitude(v), 1)))) {
      // Taylor's series of asinh(sinh v − t) in q = t/cosh v
      F z = v * v;
      F sech = polynomial(z, 0.999999931f, -0.499992922f, 0.208213566f, -0.0839528254f,
                          0.0319337014f, -0.00980136165f, 0.00165425251f);
      F half = v * polynomial(z, 0.499964289f, -0.165415534f, 0.0596823012f, -0.0134696863f);
      F q = t * sech, c3 = fma(half, half + half, all(-1.f / 6));
      F change = fma(q * q, fma(q, c3, half), q);
      y = fnma(change, size, x);
      return true;
    }
    F m = magnitude(v), s = flip_sign(t, x);
    if (every(at_most(m, 30) & at_most(all(1.f / 1024), magnitude(s)) &
              at_most(magnitude(s), 1e12f))) {  // asinh L = log1p(L (1 + R + L)/(1 + R))
      F z = v * v, S;
      if (every(at_most(m, 1))) {
        S = m * polynomial(z, 1.f, 0.166666664f, 0.00833335323f, 0.000198357098f, 2.8190392e-06f);
      } else {
        auto [P, f] = exponential(m);
        S = all(0.5f) * f * (all(1) + reciprocal(P));
      }
      F left = S - s, L = magnitude(left), R = all(1) + root(fma(left, left, all(1)));
      F l = log1p.positive(L * (R + L) * reciprocal(R));
      y = flip_sign(flip_sign(size * l, left), x);
      return true;
    }
    // With P = e^v, S = sinh v, R = √(1 + (S − t)²): v + log1p(−t (1 + (R + S − t)/P)/(R + cosh v))
    // while S − t ≥ 0, else −asinh|S − t|.
    auto [P, f] = exponential(m);
    F E = reciprocal(P), S = all(0.5f) * f * (all(1) + E), left = S - s, L = magnitude(left);
    F R = root(fma(left, left, all(1)));
    Mask same = at_most(all(0), left);
    F top = select(same, (all(0) - s) * fma(E, R + left, all(1)), L * (all(1) + (R + L)));
    F bottom = R + select(same, S + E, all(1));
    F l = log1p(top * reciprocal(bottom));
    y = flip_sign(size * select(same, m + l, all(0) - l), x);
    return every((at_most(m, 30) & at_most(magnitude(s), 1e12f)));
  }
};

struct Exponential {
  Exponential2 exponential;
  Logarithm1p log1p;
  explicit Exponential(float) {}
  MEMBER bool run(F x, F d, F& y) const {
    F m = magnitude(x), s = flip_sign(d, x), l;
    Mask same;
    if (every((at_most(magnitude(d), 1.f / 32) & at_most(m, 0.5f)))) {
      F E = polynomial(m, 0.999999989f, -0.999998573f, 0.499968048f, -0.166400376f, 0.0406455346f,
                       -0.0064755333f);
      F f = m * polynomial(m, 1.f, 0.499976797f, 0.168637801f);  // counts while ≤ 1/32
      same = at_most(s, f);
      F z = select(same, all(0) - s * E, s - f);
      l = z * polynomial(z, 1.f, -0.5f, 0.3335294f, -0.250245118f);
    } else if (every(at_most(all(1.f / 1024), magnitude(d)) & at_most(magnitude(d), 1e12f) &
                     at_most(m, 30))) {
      F left = exponential(m).minus1 - s;
      y = flip_sign(flip_sign(log1p.positive(magnitude(left)), left), x);
      return true;
    } else {
      auto [P, f] = exponential(m);
      F left = f - s;
      same = at_most(all(0), left);
      l = log1p(select(same, (all(0) - s) * reciprocal(P), all(0) - left));
      if (!every((at_most(m, 30) & at_most(magnitude(s), 1e30f)))) return false;
    }
    y = flip_sign(select(same, m + l, all(0) - l), x);
    return true;
  }
};

}  // namespace wide
