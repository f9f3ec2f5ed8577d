// Exponential and logarithm of float32 for processors with AVX-512, seeded by tables in registers.
#pragma once

#include "lanes.h"

namespace wide {

struct Tables {
  alignas(64) float power[16], power_rest[16], inverse_middle[32], log_middle[32], log_floor[32], log2_middle[32], log2_floor[32];
  Tables() {
    for (int j = 0; j < 16; ++j) {
      power[j] = float(std::exp2(j / 16.));
      power_rest[j] = float(std::exp2(j / 16.) / power[j] - 1);
    }
    for (int j = 0; j < 32; ++j) {  // at both ends exact, so that log keeps its digits near 1
      float inverse = j == 0 ? 1.f : j == 31 ? 0.5f : float(1 / (1 + (j + 0.5) / 32));
      inverse_middle[j] = j < 16 ? inverse : 2 * inverse;
      log_middle[j] = float(-std::log(double(inverse_middle[j])));
      log2_middle[j] = float(-std::log2(double(inverse_middle[j])));
      log_floor[j] = float((j >= 16) * std::log(2.) - std::log(double(inverse_middle[j])));
      log2_floor[j] = float((j >= 16) - std::log2(double(inverse_middle[j])));
    }
  }
};
static const Tables tables;

// e^t, e^t − 1, |t| ≤ 80: t = n/16 log 2 + r.
struct Exponential2 {
  Table16 power{tables.power}, rest{tables.power_rest};
  struct Pair {
    F value, minus1;
  };
  MEMBER Pair operator()(F t) const {
    const F magic = all(1.5f * (1 << 19));  // its last place is 1/16
    F shifted = fma(t, all(1.44269504f), magic), n = shifted - magic;
    F r = fnma(n, all(0.693145752f), t);
    r = fnma(n, all(1.42860677e-6f), r);
    F p = fma(r * r, polynomial(r, 0.500014716f, 0.166671571f), r + rest.at(shifted));
    F s = scale(power.at(shifted), n);
    return {fma(s, p, s), fma(s, p, s - all(1))};
  }
};

// log(1 + z), z > −1; w = 1 + z = 2^k m, m in [¾, 3/2).
struct Logarithm1p {
  Table32 inverse{tables.inverse_middle}, log{tables.log_middle};
  Table32 log_floor{tables.log_floor};
  MEMBER F series(F f, F k, F start) const {
    F p = polynomial(f, 1.f, -0.500001291f, 0.333371116f, -0.243978946f);
    return fma(k, all(0.693147181f), fma(f, p, start));
  }
  MEMBER F positive(F z) const {  // z ≥ 0
    F w = all(1) + z, rest = z - (w - all(1)), m = mantissa(w), j = leading(m);
    F i = inverse.at(j), f = fms(m, i, all(1));
    f = select(below(w, all(2)), fma(rest, i, f), f);
    return series(f, exponent(w), log_floor.at(j));
  }
  MEMBER F operator()(F z) const {
    F w = all(1) + z, rest = z - (w - all(1));
    F k = exponent(w * all(4.f / 3)), m = mantissa(w), j = leading(m);
    F i = inverse.at(j), f = fms(m, i, all(1));
    f = fma(scale(rest, all(0) - k), i, f);
    return series(f, k, log.at(j));
  }
};

}  // namespace wide
