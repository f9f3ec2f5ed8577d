// The passes over memory of mirror.cpp for float32 and processors with AVX-512.
#pragma once

#include "wide_maps.h"

namespace wide {

// The new values of `lanes` entries.
template <class Fast, class Exact>
INLINE F moved(const Fast& fast, const Exact& exact, F x, F d) {
  F y;
  if (__builtin_expect(!fast.run(x, d, y), 0)) {
    float old[lanes], delta[lanes];
    store(old, x);
    store(delta, d);
    for (int j = 0; j < lanes; ++j)
      if (std::fabs(old[j]) <= std::numeric_limits<float>::max()) old[j] = exact.step(old[j], delta[j]);
    y = load(old);
  }
  return select(equal(d, all(0)), x, y);
}

// x ← map(x·shrink, d·lr), entry by entry.
template <class Fast, bool shrinks, class Exact>
void sweep(double parameter, const Exact& given, int64_t n, float* x, const float* d, float lr,
           float shrink) {
  const Fast fast(parameter);
  const Exact exact = given;
  const F rate = all(lr), factor = all(shrink);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    fetch(x + i);
    fetch(d + i);
    F before = load(x + i);
    if (shrinks) before = before * factor;
    store(x + i, moved(fast, exact, before, load(d + i) * rate));
  }
  if (i < n) {
    float last[lanes] = {}, step[lanes] = {};
    std::copy(x + i, x + n, last);
    std::copy(d + i, d + n, step);
    store(last, moved(fast, exact, load(last) * factor, load(step) * rate));
    std::copy(last, last + (n - i), x + i);
  }
}

// Adam's direction m/(√v·root + ε) from the gradient sign·g; ε must dwarf √(smallest normal v).
INLINE void adam(int64_t n, float* d, const float* g, float* m, float* v, float sign, float b1,
                 float b2, float c2, float root_scale, float eps) {
  auto lanes_of = [&](float* to, const float* gradient, float* first, float* second) {
    F gi = load(gradient) * all(sign), mi = load(first), vi = load(second);
    mi = fma(all(b1), gi - mi, mi);
    vi = fma(all(b2), vi, all(c2) * gi * gi);
    store(first, mi);
    store(second, vi);
    F r = root(larger(vi, all(1.2e-38f)));
    store(to, mi * reciprocal(fma(r, all(root_scale), all(eps))));
  };
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (const float* ahead : {g, const_cast<const float*>(m), const_cast<const float*>(v)})
      fetch(ahead + i);
    lanes_of(d + i, g + i, m + i, v + i);
  }
  if (i < n) {
    float rest[4][lanes] = {};
    std::copy(g + i, g + n, rest[1]);
    std::copy(m + i, m + n, rest[2]);
    std::copy(v + i, v + n, rest[3]);
    lanes_of(rest[0], rest[1], rest[2], rest[3]);
    std::copy(rest[0], rest[0] + (n - i), d + i);
    std::copy(rest[2], rest[2] + (n - i), m + i);
    std::copy(rest[3], rest[3] + (n - i), v + i);
  }
}

}  // namespace wide
