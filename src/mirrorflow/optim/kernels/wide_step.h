// The passes over memory of mirror.cpp for float32 and processors with AVX-512.
#pragma once

#include "wide_entropies.h"

namespace {
namespace wide {

template <class> struct List;
template <class... Kinds> struct List<Forms<Kinds...>> {
  using type = Forms<Kinds...>;
};
template <class Kind> struct List {
  using type = Forms<Kind>;
};

// x ← map(x·shrink, d·lr) from i on, until the form does not hold; where that is.
template <class Kind, bool shrinks>
__attribute__((noinline)) int64_t advance(double parameter, int64_t i, int64_t end, float* x,
                                          const float* d, float lr, float shrink) {
  const Kind form(parameter);
  const F rate = all(lr * Kind::unit(parameter)), factor = all(shrink);
  for (; i < end; i += lanes) {
    fetch(x + i);
    fetch(d + i);
    F before = load(x + i), after;
    if (shrinks) before = before * factor;
    if (!form.run(before, fma(load(d + i), rate, all(0)), after)) break;  // −0 becomes 0
    store(x + i, after);
  }
  return i;
}

template <class Exact>
__attribute__((noinline)) void exactly(const Exact& exact, float* x, const float* d, float lr, float shrink) {
  for (int j = 0; j < lanes; ++j) {
    float delta = d[j] * lr;
    x[j] *= shrink;
    constexpr float most = std::numeric_limits<float>::max();
    if (delta != 0 && std::fabs(x[j]) <= most)
      x[j] = std::fabs(delta) <= most ? exact.step(x[j], delta) : -delta;
  }
}

// One form goes on while it holds: the cheapest without end, another for a while, longer each time.
// Where it fails, the others are tried for one group, the exact one last; the one that fits goes on
// from there if this one did not hold at all.
template <bool shrinks, class Exact, class... Kinds>
void whole(Forms<Kinds...>, double parameter, const Exact& exact, int64_t n, float* x,
           const float* d, float lr, float shrink) {
  constexpr decltype(&advance<Power3, shrinks>) forms[] = {advance<Kinds, shrinks>...};
  constexpr int count = sizeof...(Kinds);
  int64_t a_while = 1024;
  for (int64_t i = 0, current = 0; i < n;) {
    auto run = [&](int form, int64_t end) {
      const int64_t from = i;
      i = forms[form](parameter, i, std::min(n, end), x, d, lr, shrink);
      return i > from;
    };
    const int64_t end = current == 0 ? n : i + a_while;
    const bool held = run(current, end);
    if (i < std::min(n, end)) {
      int form = 0;
      while (form < count && (form == current || !run(form, i + lanes))) ++form;
      if (form == count) {
        exactly(exact, x + i, d + i, lr, shrink);
        i += lanes;
      } else if (!held) {
        current = form;
      }
    } else {
      current = 0;
      a_while = std::min<int64_t>(2 * a_while, 8192);
    }
  }
}

template <class Fast, bool shrinks, class Exact>
void sweep(double parameter, const Exact& exact, int64_t n, float* x, const float* d, float lr,
           float shrink) {
  const typename List<Fast>::type forms;
  const int64_t full = n - n % lanes, left = n - full;
  whole<shrinks>(forms, parameter, exact, full, x, d, lr, shrink);
  if (left > 0) {
    float last[lanes] = {}, step[lanes] = {};
    std::copy(x + full, x + n, last);
    std::copy(d + full, d + n, step);
    whole<shrinks>(forms, parameter, exact, lanes, last, step, lr, shrink);
    std::copy(last, last + left, x + full);
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
}  // namespace
