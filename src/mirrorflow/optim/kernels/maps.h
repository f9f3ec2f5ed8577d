// The maps of mirror.cpp: elementary functions, and the new value of an entry, map by map.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#define MEMBER inline __attribute__((always_inline))
#define INLINE static MEMBER

namespace {

template <class T> struct Bits;
template <> struct Bits<float> {
  using Int = int32_t;
  static constexpr int mantissa = 23, bias = 127, exp_terms = 7, log_terms = 4, cbrt_rounds = 2;
  static constexpr Int sqrt_half = 0x3f3504f3;
  static constexpr float clip = 170.f, ln2_high = 0.693145751953125f, ln2_low = 1.42860677e-6f;
  static constexpr float cbrt_magic = 1419967116.f;
};
template <> struct Bits<double> {
  using Int = int64_t;
  static constexpr int mantissa = 52, bias = 1023, exp_terms = 13, log_terms = 10, cbrt_rounds = 3;
  static constexpr Int sqrt_half = 0x3fe6a09e667f3bcd;
  static constexpr double clip = 1410., ln2_high = 0.693147180369123816490,
                          ln2_low = 1.90821492927058770002e-10;
  static constexpr double cbrt_magic = 6142909891733356544.;
};

template <class To, class From> INLINE To pun(From value) { return __builtin_bit_cast(To, value); }

template <class T> INLINE T pow2(typename Bits<T>::Int n) {
  return pun<T>((n + Bits<T>::bias) << Bits<T>::mantissa);
}

template <class T> INLINE T flip(T value, T by) {  // value, negated where by is
  using Int = typename Bits<T>::Int;
  return pun<T>(pun<Int>(value) ^ (pun<Int>(by) & std::numeric_limits<Int>::min()));
}

// e^r − 1 by n terms of its series.
template <int n, class T> INLINE T expm1_series(T r) {
  double f[n + 1];
  f[0] = 1;
  for (int i = 1; i <= n; ++i) f[i] = f[i - 1] / i;
  T p = T(f[n]);
  for (int i = n - 1; i > 0; --i) p = p * r + T(f[i]);
  return p * r;
}

// e^x and e^x − 1, both to the last digits, ∞ and 0 where they are not representable: at ±clip, where
// 2^k is a product of two floats still.
template <class T> struct Exp {
  T value, minus1;
};
template <class T> INLINE Exp<T> exponential(T x) {
  using B = Bits<T>;
  using Int = typename B::Int;
  T y = x > B::clip ? B::clip : x;
  y = y < -B::clip ? -B::clip : y;
  const T magic = T(1.5) * T(Int(1) << B::mantissa);
  T shifted = y * T(1.4426950408889634) + magic;
  T n = shifted - magic;
  Int k = pun<Int>(shifted) - pun<Int>(magic);
  T r = (y - n * B::ln2_high) - n * B::ln2_low;
  T em1 = expm1_series<B::exp_terms>(r);  // |r| ≤ ½ log 2
  Int half = k >> 1;
  T a = pow2<T>(half), b = pow2<T>(k - half);
  // One sum, then powers of 2: of (em1 a) b + a b both terms would overflow, with two signs.
  T value = ((1 + em1) * a) * b;
  // From 2^(mantissa + 2) on, 1 is below half a last digit.
  T minus1 = k == 0 ? em1 : k > B::mantissa + 1 ? value : (em1 * a) * b + (a * b - 1);
  return {value, minus1};
}

// log(w + rest) for w > 0 and normal.
template <class T> INLINE T log_core(T w, T rest) {
  using B = Bits<T>;
  using Int = typename B::Int;
  Int one = pun<Int>(T(1));
  Int i = pun<Int>(w) + (one - B::sqrt_half);
  Int k = (i >> B::mantissa) - B::bias;
  T m = pun<T>((i & ((Int(1) << B::mantissa) - 1)) + B::sqrt_half);
  T f = (m - 1) + rest * pow2<T>(-k);
  T s = f / (2 + f), z = s * s, p = T(1) / T(2 * B::log_terms + 1);
  for (int j = B::log_terms - 1; j > 0; --j) p = p * z + T(1) / T(2 * j + 1);
  T dk = T(k);
  return dk * B::ln2_high + (2 * s + (2 * s * z * p + dk * B::ln2_low));
}

template <class T> INLINE T log1p_(T z) {
  T w = 1 + z;
  T rest = z - (w - 1);
  T r = log_core(w, rest);
  return w <= std::numeric_limits<T>::max() ? r : w;  // ∞ and NaN
}

// v^{1/3}, v ≥ 0: the inverse root y by its bits, then e = 1 − v y³ to the fourth and third power.
template <class T> INLINE T cbrt_(T v) {
  using Int = typename Bits<T>::Int;
  T y = pun<T>(Int(T(pun<Int>(v)) * T(-1. / 3) + Bits<T>::cbrt_magic));
  for (int i = 0; i < Bits<T>::cbrt_rounds; ++i) {
    T e = 1 - v * y * (y * y);
    y = y + y * (e * (T(1. / 3) + e * (T(2. / 9) + e * T(14. / 81))));
  }
  return v * (y * y);
}

// ∇R*(∇R(x) − delta), with the sign of x taken out: from m = |x| and s = sgn(x)·delta.
template <class T, class Magnitude> INLINE T odd(T x, T delta, const Magnitude& magnitude) {
  return flip(magnitude(std::fabs(x), flip(delta, x)), x);
}

// asinh y and log(1 + y) from m = scale·y ≥ 0, also where y overflows.
template <class T> struct Entropy {
  T scale, inverse, log_scale;
  explicit Entropy(double s) : scale(T(s)), inverse(T(1 / s)), log_scale(T(std::log(s))) {}
  inline T asinh(T m) const {
    T y = m * inverse, z = y + y * (y / (1 + std::sqrt(1 + y * y)));
    return logarithm(m, y, z, T(0.69314718055994531));
  }
  inline T log1p(T m) const {
    T y = m * inverse;
    return logarithm(m, y, y, 0);
  }

 private:
  inline T logarithm(T m, T y, T z, T more) const {
    bool huge = y > T(1e9);
    T w = huge ? m : 1 + z, rest = huge ? 0 : z - (w - 1);
    T l = log_core(w, rest) + (huge ? more - log_scale : 0);
    return m <= std::numeric_limits<T>::max() ? l : m;
  }
};

// sinh x, by e^x and e^x − 1.
template <class T> INLINE T sinh_(T x) {
  Exp<T> e = exponential(std::fabs(x));
  T s = T(0.5) * (e.minus1 + e.minus1 / e.value);
  return flip(e.value <= std::numeric_limits<T>::max() ? s : e.value, x);
}

// m^e, m ≥ 0; float32 in float64, where the exponent costs no digits.
template <class T> INLINE double power_(double m, double exponent) {
  if (sizeof(T) == 8) return std::pow(m, exponent);
  double small = std::numeric_limits<double>::min();
  double l = log_core(m < small ? small : m, 0.), p = exponential(exponent * l).value;
  p = m <= std::numeric_limits<double>::max() ? p : m;
  return m < small ? 0 : p;
}

// Every map has `step`, the new value of an entry, and `dual`, ∇R(x).
template <class T> struct Quadratic {
  explicit Quadratic(T) {}
  inline T step(T x, T delta) const { return x - delta; }
  inline T dual(T x) const { return x; }
};

template <class T> struct Power15 {
  explicit Power15(T) {}
  inline T step(T x, T delta) const {
    T r = std::sqrt(std::fabs(x)), v = std::copysign(r, x) - delta;
    T near = x - delta * (2 * r - std::copysign(delta, x * delta));
    return 2 * std::fabs(delta) <= r ? near : v * std::fabs(v);
  }
  inline T dual(T x) const { return std::copysign(std::sqrt(std::fabs(x)), x); }
};

template <class T> struct Power3 {
  explicit Power3(T) {}
  inline T step(T x, T delta) const {
    T v = x * std::fabs(x) - delta;
    return std::copysign(std::sqrt(std::fabs(v)), v);
  }
  inline T dual(T x) const { return x * std::fabs(x); }
};

template <class T> struct Power4 {
  explicit Power4(T) {}
  inline T step(T x, T delta) const {
    T x2 = x * x, u = x2 * x, v = u - delta, c = cbrt_(std::fabs(v)), far = std::copysign(c, v);
    T near = x - delta / (x2 + (x * far + c * c));
    return 2 * std::fabs(delta) <= std::fabs(u) ? near : far;
  }
  inline T dual(T x) const { return x * x * x; }
};

// sgn(v)|v|^{1/e}, v = sgn(x)|x|^e − δ.
template <class T> struct Power {
  double e, inverse;
  explicit Power(double exponent) : e(exponent), inverse(1 / exponent) {}
  inline T step(T x, T delta) const {
    double m = std::fabs(double(x)), s = flip(double(delta), double(x));
    double u = power_<T>(m, e), ratio = s / u;
    bool near = std::fabs(s) < 0.5 * u;
    double change = near ? m * growth(ratio) : 0, v = u - s;
    double far = flip(power_<T>(std::fabs(v), inverse), v);
    return T(flip(near ? m + change : far, double(x)));
  }
  inline T dual(T x) const { return T(flip(power_<T>(std::fabs(double(x)), e), double(x))); }

 private:
  inline double growth(double ratio) const {  // (1 − ratio)^{1/e} − 1
    if (sizeof(T) == 8) return std::expm1(std::log1p(-ratio) * inverse);
    return exponential(log1p_(-ratio) * inverse).minus1;
  }
};

template <class T> struct HyperbolicEntropy {
  T beta, beta2;
  Entropy<T> entropy;
  explicit HyperbolicEntropy(double b) : beta(T(b)), beta2(T(b) * T(b)), entropy(b) {}
  inline T dual(T x) const { return flip(entropy.asinh(std::fabs(x)), x); }
  static constexpr double small_delta = 0.5, small_x = 1e15;
  inline T small_step(T x, T delta) const {  // x cosh δ − √(x² + β²) sinh δ
    constexpr bool wide = sizeof(T) == 8;
    T z = delta * delta;
    T sinh = wide ? T(1. / 39916800) + z * T(1. / 6227020800) : T(1. / 5040);
    T cosh = wide ? T(1. / 3628800) + z * T(1. / 479001600 + z / 87178291200) : T(1. / 720);
    if (wide) {
      sinh = T(1. / 5040) + z * (T(1. / 362880) + z * sinh);
      cosh = T(1. / 720) + z * (T(1. / 40320) + z * cosh);
    }
    sinh = delta * (1 + z * (T(1. / 6) + z * (T(1. / 120) + z * sinh)));
    cosh = z * (T(0.5) + z * (T(1. / 24) + z * cosh));
    return x + (x * cosh - std::sqrt(x * x + beta2) * sinh);
  }
  inline T step(T x, T delta) const {
    return odd(x, delta, [this](T m, T s) {
      Exp<T> e = exponential(-s);
      T sinh = T(-0.5) * (e.minus1 + e.minus1 / e.value);
      T d = beta * (beta / (std::sqrt(m * m + beta2) + m));
      T near = m + (m * e.minus1 - d * sinh);
      return std::fabs(s) < T(0.5) ? near : m * e.value - d * sinh;
    });
  }
};

template <class T> struct Logarithmic {
  T beta;
  Entropy<T> entropy;
  explicit Logarithmic(double b) : beta(T(b)), entropy(b) {}
  inline T dual(T x) const { return flip(entropy.log1p(std::fabs(x)), x); }
  static constexpr double small_delta = 0.25, small_x = 1e30;
  inline T back(T v) const { return v < 0 ? v * (beta / (v + beta)) : v; }  // across 0
  inline T small_step(T x, T delta) const {
    return odd(x, delta, [this](T m, T s) {
      return back(m + (m + beta) * expm1_series<sizeof(T) == 8 ? 12 : 7>(-s));
    });
  }
  inline T step(T x, T delta) const {
    return odd(x, delta, [this](T m, T s) {
      Exp<T> e = exponential(-s);
      T w = m + beta;
      T v = std::fabs(s) < T(0.5) ? m + w * e.minus1 : w * e.value - beta;
      return v < 0 ? v * (beta / (e.value * w)) : v;
    });
  }
};

template <class T> struct Cosh {
  T scale, inverse;
  explicit Cosh(T s) : scale(s), inverse(1 / s) {}
  inline T dual(T x) const { return scale * sinh_(x * inverse); }
  inline T step(T x, T delta) const {
    return odd(x, delta, [this](T m, T s) {
      T y = m * inverse, t = s * inverse;
      Exp<T> e = exponential(-y);  // everything is divided by e^y
      T E = e.value, shift = t * E, sinh = T(-0.5) * e.minus1 * (1 + E);
      bool near = 2 * std::fabs(shift) <= sinh;
      T left = sinh - shift, L = std::fabs(left);
      T root = L > T(1e9) ? L : std::sqrt(E * E + left * left);
      T both = T(0.5) * (1 + E * E) + root;
      T q = L / E, top = near ? shift * (1 + left + root) : q * ((E + root + L) / (E + root));
      T bottom = near ? both * (left + root) : 1;
      bool huge = !near & (q > T(1e30));  // the ratio is 2q, which may overflow
      T l = (log1p_(huge ? q : top / bottom) + (huge ? T(0.69314718055994531) : 0)) * scale;
      return near ? m - l : std::copysign(l, left);
    });
  }
};

// Taylor's series of asinh(sinh y − t) in q = t/cosh y to fourth order, for float32.
struct CoshFloat : Cosh<float> {
  using Cosh<float>::Cosh;
  static constexpr double small_delta = 1. / 32, small_x = 1;
  bool fits(float d, float x) const {
    return d <= float(small_delta) * scale && x <= float(small_x) * scale;
  }
  inline float small_step(float x, float delta) const {
    float y = x * inverse, z = y * y;
    float cosh = 1 + z * (1.f / 2 + z * (1.f / 24 + z * (1.f / 720 + z * (1.f / 40320))));
    float sinh = y * (1 + z * (1.f / 6 + z * (1.f / 120 + z * (1.f / 5040))));
    float r = 1 / cosh, tau = sinh * r, q = delta * (r * inverse), w = tau * tau;
    float c4 = tau * (0.625f * w - 0.375f), c3 = 0.5f * w - 1.f / 6;
    float change = q * (1 + q * (0.5f * tau + q * (c3 + q * c4)));
    return x - change * scale;
  }
};

template <class T> struct Exponential {
  explicit Exponential(T) {}
  inline T dual(T x) const {
    Exp<T> e = exponential(std::fabs(x));
    return flip(e.value <= std::numeric_limits<T>::max() ? e.minus1 : e.value, x);
  }
  inline T step(T x, T delta) const {
    return odd(x, delta, [](T m, T s) {
      Exp<T> e = exponential(-m);
      T shift = s * e.value;
      bool same = shift <= -e.minus1;
      T l = log1p_(same ? -shift : (shift + e.minus1) / e.value);
      return same ? m + l : -l;
    });
  }
};

struct ExponentialFloat : Exponential<float> {
  using Exponential<float>::Exponential;
  static constexpr double small_delta = 1. / 32, small_x = 0.5;
  inline float small_step(float x, float delta) const {
    return odd(x, delta, [](float m, float s) {
      float h = 0.25f - m;  // e^{−m} about the middle of [0, ½]
      float E = 0.7788007830714049f * (1 + expm1_series<6>(h));
      float e = expm1_series<4>(m);  // only its comparison with s ≤ 1/32 and values below count
      bool same = s <= e;
      float z = same ? -s * E : s - e;
      float l = z * (1 + z * (-1.f / 2 + z * (1.f / 3 + z * (-1.f / 4 + z * (1.f / 5)))));
      return same ? m + l : -l;
    });
  }
};

// asinh(sinh x − f), f the fall of sinh x as it is by Cosh: sinh x − asinh(sinh sinh x − δ).
template <class T> struct DoubleExponential {
  explicit DoubleExponential(T) {}
  inline T dual(T x) const { return sinh_(sinh_(x)); }
  inline T step(T x, T delta) const {
    return odd(x, delta, [](T m, T s) {
      Fall inner = fall(sinh_(m), s), outer = fall(m, inner.by);
      return outer.to;
    });
  }

 private:
  struct Fall {
    T to, by;
  };
  static MEMBER Fall fall(T m, T s) {  // as in Cosh
    Exp<T> e = exponential(-m);
    T E = e.value, shift = s * E, sinh = T(-0.5) * e.minus1 * (1 + E);
    bool near = 2 * std::fabs(shift) <= sinh;
    T left = sinh - shift, L = std::fabs(left);
    T root = L > T(1e9) ? L : std::sqrt(E * E + left * left);
    T both = T(0.5) * (1 + E * E) + root;
    T q = L / E, top = near ? shift * (1 + left + root) : q * ((E + root + L) / (E + root));
    T bottom = near ? both * (left + root) : 1;
    bool huge = !near & (q > T(1e30));
    T l = log1p_(huge ? q : top / bottom) + (huge ? T(0.69314718055994531) : 0);
    T far = std::copysign(l, left);
    return {near ? m - l : far, near ? l : m - far};
  }
};

// a x + b sgn(x)|x|^e = u: the new m from the old one by λ = log(m'/m), with the shares A + B = 1 of
// the two terms: A expm1 λ + B expm1 eλ = −s/u. Newton on the logarithm of both sides is nearly
// straight; two steps on the equation itself give the last digits. In float64 throughout.
template <class T> struct Mixed {
  double e, a, b;
  Mixed(double exponent, double linear, double curved) : e(exponent), a(linear), b(curved) {}
  inline T dual(T x) const {
    double m = std::fabs(double(x));
    return T(flip(a * m + b * power_<T>(m, e), double(x)));
  }
  inline T step(T x, T delta) const {
    double m = std::fabs(double(x)), s = flip(double(delta), double(x));
    double u = a * m + b * power_<T>(m, e), v = u - s, w = std::fabs(v);
    bool near = std::fabs(s) <= 0.5 * u;
    double linear_root = w / a, curved_root = power_<T>(w / b, 1 / e);
    double start = linear_root < curved_root ? linear_root : curved_root;
    double linear = a * start, curved = b * power_<T>(start, e);
    double excess = linear < curved ? linear + (curved - w) : curved + (linear - w);
    double from = near ? m : start;
    double to = lowered(from > 0 ? from : 1, near ? s : excess);
    to = from > 0 ? to : from;
    return T(flip(near ? to : flip(to, v), double(x)));
  }

 private:
  static constexpr int rounds = 5;
  inline double lowered(double m, double s) const {
    double linear = a * m, ratio = (b / a) * power_<T>(m, e - 1);
    double A = 1 / (1 + ratio), B = ratio * A;
    double target = ratio < 1 ? -(s / linear) * A : -(s / (linear * ratio)) * B;
    double wanted = log1p_(target), shift = wanted / (A + e * B);
    for (int i = 0; i < rounds; ++i) {
      double one = A * exponential(shift).value, many = B * exponential(e * shift).value;
      double sum = one + many;
      shift -= (log_core(sum, 0.) - wanted) * sum / (one + e * many);
    }
    for (int i = 0; i < 2; ++i) {
      Exp<double> one = exponential(shift), many = exponential(e * shift);
      double miss = A * one.minus1 + B * many.minus1 - target;
      shift -= miss / (A * one.value + e * B * many.value);
    }
    return m + m * exponential(shift).minus1;
  }
};

}  // namespace
