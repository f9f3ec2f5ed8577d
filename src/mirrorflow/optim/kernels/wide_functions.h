// Exponential and logarithm of float32 for processors with AVX-512, seeded by tables in registers.
#pragma once

#include "lanes.h"

namespace {
namespace wide {

struct Tables {
  alignas(64) float power[32], power_bits[32], power_rest[32], inverse_bits[32], log[32], log2_nearest[32],
      inverse_middle[32], log2_middle[32];
  Tables() {
    for (int j = 0; j < 32; ++j) {
      double p = std::exp2(j / 32.);
      power[j] = float(p);
      power_bits[j] = pun<float>(pun<int32_t>(float(p)) - (j << 18));
      power_rest[j] = float(p / float(p) - 1);
      inverse_middle[j] = float(1 / (1 + (j + 0.5) / 32));
      log2_middle[j] = float(-std::log2(double(inverse_middle[j])));
      // At both ends exact, so that the logarithm keeps its digits near 1.
      float i = j == 0 ? 1.f : j == 31 ? 0.5f : float(1 / (1 + (j + 0.5) / 32));
      inverse_bits[j] = pun<float>(pun<int32_t>(i) + (127 << 23));
      log[j] = float(-std::log(double(i)));
      log2_nearest[j] = float(-std::log2(double(i)) - (j >= 16));
    }
  }
};
// Made at the first use: other processors load this code too, and must not run it.
INLINE const Tables& tables() {
  static const Tables made;
  return made;
}

LIFT1(scale_bits, V, V, V(_mm512_slli_epi32(BITS(x), 18)))

// 2^r − 1, |r| ≤ 1/64.
INLINE F power2_series(F r) { return r * polynomial(r, 0.693147181f, 0.240228268f, 0.0555045312f); }
INLINE F power2_magic() { return all(1.5f * (1 << 18)); }  // its last place is 1/32

// e^t and e^t − 1, both to their last digits, |t| ≤ 80: t = n log 2 + r, n a multiple of 1/32.
struct Exponential2 {
  Table32 power{tables().power_bits}, rest{tables().power_rest};
  struct Pair {
    F value, minus1;
  };
  MEMBER Pair operator()(F t) const { return raise(t, 1.44269504f); }
  MEMBER Pair of_minus(F t) const { return raise(t, -1.44269504f); }

 private:
  MEMBER Pair raise(F t, float log2_base) const {
    F c = all(log2_base), shifted = fma(t, c, power2_magic()), n = shifted - power2_magic();
    F p = power2_series(fms(t, c, n)) + rest.at(shifted);
    F s = plus_bits(power.at(shifted), scale_bits(shifted));
    return {fma(s, p, s), fma(s, p, s - all(1))};
  }
};

// log2 c (1 + f) = log2 c + f (…), |f| ≤ 1/32.
INLINE F log2_series(F f, F start) {
  return fma(f, polynomial(f, 1.44269504f, -0.721349407f, 0.480962181f, -0.352254717f), start);
}
// About 1/w: f = w/… − 1 is small, and is w − 1 near 1.
INLINE F inverse_of(const Table32& inverse_bits, F w, F j) {
  return minus_bits(inverse_bits.at(j), exponent_bits(w));
}

// log(1 + z), z > −1, to its last digits.
struct Logarithm1p {
  Table32 inverse{tables().inverse_bits}, log{tables().log};
  MEMBER F operator()(F z) const {
    F w = all(1) + z, rest = z - (w - all(1)), j = leading(w), i = inverse_of(inverse, w, j);
    F f = fma(rest, i, fms(w, i, all(1)));
    F p = polynomial(f, 1.f, -0.500001291f, 0.333371116f, -0.243978946f);
    return fma(f, p, fma(exponent(w), all(0.693147181f), log.at(j)));
  }
};

}  // namespace wide
}  // namespace
