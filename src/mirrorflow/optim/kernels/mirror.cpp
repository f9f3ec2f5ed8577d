// One fused mirror-descent or mirror-AdamW step over one contiguous array: direction, weight
// decay, map, in one pass over memory. The C interface needs no torch header, so it builds in
// seconds. Loops are written without branches for the compiler to vectorise at any width.
//
// Every map gives the new value in the form that keeps a small step exact (the change is added to
// x), as in mirrorflow.maps. A map may have a second, cheaper form for small steps and entries,
// used for blocks in which all are below its bounds: it is accurate to the same rounding there.
// For float32 on processors with AVX-512 the forms of wide_powers.h and wide_entropies.h take their place.

#include <algorithm>

#include "maps.h"
#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512BW__)
#include "wide_step.h"
#define WIDE_LANES
#define WIDE(Map) \
  template <> struct Fast<Map<float>> { using type = wide::Map; };
#else
#define WIDE(Map)
#endif

namespace {

struct Options {
  double lr, shrink, dual_decay, momentum, gain, sign, beta1, beta2, eps, root_correction;
  int64_t nesterov, first;
};

constexpr int64_t block = 1024;       // with a buffer for the direction
constexpr int64_t long_block = 16384;  // without

template <class T> INLINE T largest(int64_t n, const T* x) {  // NaN counts as the largest
  using Int = typename Bits<T>::Int;
  Int top = 0;
  constexpr Int mask = std::numeric_limits<Int>::max();
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < n; ++i) {
    Int bits = pun<Int>(x[i]) & mask;
    top = bits > top ? bits : top;
  }
  return pun<T>(top);
}

template <class Map, class T>
auto fits(const Map& map, T delta, T x, int) -> decltype(map.fits(delta, x)) {
  return map.fits(delta, x);
}
template <class Map, class T>
auto fits(const Map&, T delta, T x, long) -> decltype(Map::small_x > 0) {
  return delta <= T(Map::small_delta) && x <= T(Map::small_x);
}
template <class Map, class T> bool fits(const Map&, T, T, ...) { return false; }

template <class Map, class T>
auto small_step(const Map& map, T x, T delta, int) -> decltype(map.small_step(x, delta)) {
  return map.small_step(x, delta);
}
template <class Map, class T> T small_step(const Map&, T x, T, long) { return x; }

template <class Map, class T> constexpr auto has_small(int) -> decltype(Map::small_x > 0) { return true; }
template <class Map, class T> constexpr bool has_small(long) { return false; }

// The form of a map for this processor, if there is one.
template <class Map> struct Fast { using type = void; };
WIDE(Power15)
WIDE(Power3)
WIDE(Power4)
WIDE(Power)
WIDE(HyperbolicEntropy)
WIDE(Logarithmic)
WIDE(Cosh)
WIDE(Exponential)

template <class T, class Map>
__attribute__((flatten)) void move(const Map& map, int64_t n, T* __restrict x,
                                             const T* __restrict d, T lr, T shrink) {
  bool small = has_small<Map, T>(0) &&
               fits(map, std::fabs(lr) * largest(n, d), std::fabs(shrink) * largest(n, x), 0);
  if (small) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      T delta = lr * d[i], xi = x[i] * shrink, moved = small_step(map, xi, delta, 0);
      x[i] = delta == 0 ? xi : moved;
    }
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      T delta = lr * d[i], xi = x[i] * shrink, moved = map.step(xi, delta);
      moved = std::fabs(delta) <= std::numeric_limits<T>::max() ? moved : -delta;  // ∞ leads to ∞
      bool stay = (delta == 0) | (std::fabs(xi) > std::numeric_limits<T>::max());
      x[i] = stay ? xi : moved;
    }
  }
}

template <class T>
void heavy(int64_t n, T* __restrict d, const T* __restrict g, T* __restrict m, const Options& o) {
  const T sign = T(o.sign), mu = T(o.momentum), gain = o.first ? T(1) : T(o.gain),
          now = o.nesterov ? T(1) : T(0), later = o.nesterov ? mu : T(1);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    T gi = sign * g[i], buffer = o.first ? gi : mu * m[i] + gain * gi;
    m[i] = buffer;
    d[i] = now * gi + later * buffer;
  }
}

template <class T>
void adam(int64_t n, T* __restrict d, const T* __restrict g, T* __restrict m, T* __restrict v,
          const Options& o) {
  const T sign = T(o.sign), b1 = T(1 - o.beta1), b2 = T(o.beta2), c2 = T(1 - o.beta2),
          eps = T(o.eps), root = T(1 / o.root_correction);
#ifdef WIDE_LANES
  if constexpr (sizeof(T) == 4)
    if (o.eps >= 1e-15) return wide::adam(n, d, g, m, v, sign, b1, b2, c2, root, eps);
#endif
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    T gi = sign * g[i], first = m[i] + b1 * (gi - m[i]), second = b2 * v[i] + c2 * gi * gi;
    m[i] = first;
    v[i] = second;
    d[i] = first == 0 ? first : first / (std::sqrt(second) * root + eps);  // 0/0 at eps = 0
  }
}

// A map with its parameters, and the move by the best form for this processor.
template <class T, class Map> struct Mover {
  const double parameter;
  const Map map;
  explicit Mover(const double* p) : parameter(*p), map(make(p)) {}
  static Map make(const double* p) {
    if constexpr (std::is_constructible_v<Map, double, double, double>)
      return Map(p[0], p[1], p[2]);
    else
      return Map(p[0]);
  }
  __attribute__((noinline)) void operator()(int64_t n, T* x, const T* d, T lr, T shrink) const {
    using Wide = typename Fast<Map>::type;
    if constexpr (std::is_void_v<Wide>) {
      move(map, n, x, d, lr, shrink);
    } else {
#ifdef WIDE_LANES
      auto sweep = shrink == 1 ? wide::sweep<Wide, false, Map> : wide::sweep<Wide, true, Map>;
      sweep(parameter, map, n, x, d, lr, shrink);
#endif
    }
  }
  __attribute__((noinline, flatten)) void dual(int64_t n, const T* __restrict x,
                                               T* __restrict u) const {
    const Map own = map;  // of which the compiler knows that u does not overwrite it
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) u[i] = own.dual(x[i]);
  }
  void decay(int64_t n, T* x, T amount) const {  // u ← (1 − amount) u
    T u[block];
    dual(n, x, u);
    (*this)(n, x, u, amount, T(1));
  }
};

template <class T> T product(int64_t n, const T* __restrict a, const T* __restrict b) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

constexpr int64_t worth_a_thread = 1 << 16;

template <class T, class Map>
void run(const double* parameters, int64_t n, T* x, const T* g, T* m, T* v, const Options& o,
         int threads) {
  const Mover<T, Map> mover(parameters);
  const int64_t length = m || o.dual_decay != 0 ? block : long_block;
  const int64_t blocks = (n + length - 1) / length;
  auto step = [&](int64_t b) {
    const int64_t at = b * length, size = n - at < length ? n - at : length;
    T buffer[block];
    if (v)
      adam(size, buffer, g + at, m + at, v + at, o);
    else if (m)
      heavy(size, buffer, g + at, m + at, o);
    if (o.dual_decay != 0) mover.decay(size, x + at, T(o.dual_decay));
    mover(size, x + at, m ? buffer : g + at, T(m ? o.lr : o.lr * o.sign), T(o.shrink));
  };
  if (threads > 1 && n > worth_a_thread) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t b = 0; b < blocks; ++b) step(b);
  } else {
    for (int64_t b = 0; b < blocks; ++b) step(b);
  }
}

struct Sums {
  double first, second;
};

// Σ over blocks of what `part` gives for a block.
template <class Part> Sums over_blocks(int64_t n, int threads, const Part& part) {
  const int64_t blocks = (n + block - 1) / block;
  double first = 0, second = 0;
  auto add = [&](int64_t b, double& to_first, double& to_second) {
    const int64_t at = b * block;
    Sums sums = part(at, n - at < block ? n - at : block);
    to_first += sums.first;
    to_second += sums.second;
  };
  if (threads > 1 && n > worth_a_thread) {
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : first, second)
    for (int64_t b = 0; b < blocks; ++b) add(b, first, second);
  } else {
    for (int64_t b = 0; b < blocks; ++b) add(b, first, second);
  }
  return {first, second};
}

// ⟨d, d⟩ and ⟨∇R(x), x⟩.
template <class T, class Map>
Sums sizes(const double* parameters, int64_t n, const T* x, const T* d, T*, const Options&,
           int threads) {
  const Mover<T, Map> mover(parameters);
  return over_blocks(n, threads, [&](int64_t at, int64_t size) -> Sums {
    T u[block];
    mover.dual(size, x + at, u);
    return {double(product(size, d + at, d + at)), double(product(size, u, x + at))};
  });
}

// Weight decay of x, then a step into `to`: ⟨d, change by the step⟩.
template <class T, class Map>
Sums trial(const double* parameters, int64_t n, const T* x, const T* d, T* to, const Options& o,
           int threads) {
  const Mover<T, Map> mover(parameters);
  const T shrink = T(o.shrink);
  return over_blocks(n, threads, [&](int64_t at, int64_t size) -> Sums {
    T start[block], *moved = to + at;
    for (int64_t i = 0; i < size; ++i) start[i] = x[at + i] * shrink;
    if (o.dual_decay != 0) mover.decay(size, start, T(o.dual_decay));
    std::copy(start, start + size, moved);
    mover(size, moved, d + at, T(o.lr), T(1));
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) start[i] -= moved[i];
    return {double(product(size, d + at, start)), 0};
  });
}

template <class T> struct Choice {
  using C = Cosh<T>;
  using E = Exponential<T>;
};
#ifndef WIDE_LANES
template <> struct Choice<float> {
  using C = CoshFloat;
  using E = ExponentialFloat;
};
#endif

// One instantiation for every map, in the order of their numbers.
#define FOR_EVERY_MAP(function) \
  function<T, Quadratic<T>>, function<T, Power15<T>>, function<T, Power3<T>>, \
      function<T, Power4<T>>, function<T, HyperbolicEntropy<T>>, function<T, Logarithmic<T>>, \
      function<T, typename Choice<T>::C>, function<T, typename Choice<T>::E>, \
      function<T, Power<T>>, function<T, DoubleExponential<T>>, function<T, Mixed<T>>

template <class T>
void step_all(int64_t kind, const double* parameters, int64_t count, const int64_t* n, T** x, T** g,
              T** m, T** v, const Options* o, int64_t threads) {
  using Run = void (*)(const double*, int64_t, T*, const T*, T*, T*, const Options&, int);
  static const Run table[] = {FOR_EVERY_MAP(run)};
  for (int64_t k = 0; k < count; ++k)
    table[kind](parameters, n[k], x[k], g[k], m ? m[k] : nullptr, v ? v[k] : nullptr, o[k],
                int(threads));
}

// With `to` a trial step, without it the sizes.
template <class T>
void measure_all(int64_t kind, const double* parameters, int64_t count, const int64_t* n, T** x,
                 T** d, T** to, const Options* o, int64_t threads, double* sums) {
  using Measure = Sums (*)(const double*, int64_t, const T*, const T*, T*, const Options&, int);
  static const Measure sizes_of[] = {FOR_EVERY_MAP(sizes)}, trials[] = {FOR_EVERY_MAP(trial)};
  for (int64_t k = 0; k < count; ++k) {
    const Sums found = (to ? trials : sizes_of)[kind](parameters, n[k], x[k], d[k],
                                                      to ? to[k] : nullptr, *o, int(threads));
    sums[0] += found.first;
    sums[1] += found.second;
  }
}

}  // namespace

// The wheel holds this file three times, once per level of processors (see dispatch.cpp).
#ifndef MIRROR_LEVEL
#define MIRROR_LEVEL
#endif
#define JOINED(a, b) a##b
#define EXPANDED(a, b) JOINED(a, b)
#define MIRROR_NAME(name) EXPANDED(name, MIRROR_LEVEL)
#define ENTRIES(type, T) \
  void MIRROR_NAME(mirror_step_##type)(int64_t kind, const double* parameters, int64_t count, \
                                       const int64_t* n, T** x, T** g, T** m, T** v, \
                                       const Options* o, int64_t threads) { \
    step_all<T>(kind, parameters, count, n, x, g, m, v, o, threads); \
  } \
  void MIRROR_NAME(mirror_measure_##type)(int64_t kind, const double* parameters, int64_t count, \
                                          const int64_t* n, T** x, T** d, T** to, \
                                          const Options* o, int64_t threads, double* sums) { \
    measure_all<T>(kind, parameters, count, n, x, d, to, o, threads, sums); \
  }

extern "C" {
ENTRIES(float32, float)
ENTRIES(float64, double)
}
