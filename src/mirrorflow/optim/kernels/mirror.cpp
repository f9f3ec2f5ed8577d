// One fused mirror-descent or mirror-AdamW step over one contiguous array: direction, weight
// decay, map, in one pass over memory. The C interface needs no torch header, so it builds in
// seconds. Loops are written without branches for the compiler to vectorise at any width.
//
// Every map gives the new value in the form that keeps a small step exact (the change is added to
// x), as in mirrorflow.maps. A map may have a second, cheaper form for small steps and entries,
// used for blocks in which all are below its bounds: it is accurate to the same rounding there.
// For float32 on processors with AVX-512 the forms of wide_powers.h and wide_entropies.h take their place.

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
  double lr, shrink, momentum, gain, sign, beta1, beta2, eps, root_correction;
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
__attribute__((flatten)) void move(const Map& map, int64_t n, T* __restrict x, const T* __restrict d, T lr, T shrink) {
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
    d[i] = first / (std::sqrt(second) * root + eps);
  }
}

template <class T, class Map>
void run(double parameter, int64_t n, T* x, const T* g, T* m, T* v, const Options& o,
         int threads) {
  const Map map(parameter);
  using Wide = typename Fast<Map>::type;
  const int64_t length = m ? block : long_block;
  const int64_t blocks = (n + length - 1) / length;
  auto step = [&](int64_t b) {
    const int64_t at = b * length, size = n - at < length ? n - at : length;
    T buffer[block];
    if (v)
      adam(size, buffer, g + at, m + at, v + at, o);
    else if (m)
      heavy(size, buffer, g + at, m + at, o);
    const T* direction = m ? buffer : g + at;
    const T lr = T(m ? o.lr : o.lr * o.sign), shrink = T(o.shrink);
    if constexpr (std::is_void_v<Wide>) {
      move(map, size, x + at, direction, lr, shrink);
    } else {
#ifdef WIDE_LANES
      auto sweep = shrink == 1 ? wide::sweep<Wide, false, Map> : wide::sweep<Wide, true, Map>;
      sweep(parameter, map, size, x + at, direction, lr, shrink);
#endif
    }
  };
  if (threads > 1 && n > 1 << 16) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t b = 0; b < blocks; ++b) step(b);
  } else {
    for (int64_t b = 0; b < blocks; ++b) step(b);
  }
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

template <class T>
void all(int64_t kind, double parameter, int64_t count, const int64_t* sizes, T** x, T** g, T** m,
         T** v, const Options* o, int64_t threads) {
  using Run = void (*)(double, int64_t, T*, const T*, T*, T*, const Options&, int);
  static const Run table[] = {run<T, Quadratic<T>>,   run<T, Power15<T>>,
                              run<T, Power3<T>>,      run<T, Power4<T>>,
                              run<T, HyperbolicEntropy<T>>,
                              run<T, Logarithmic<T>>, run<T, typename Choice<T>::C>,
                              run<T, typename Choice<T>::E>, run<T, Power<T>>};
  for (int64_t k = 0; k < count; ++k)
    table[kind](parameter, sizes[k], x[k], g[k], m ? m[k] : nullptr, v ? v[k] : nullptr, o[k],
                int(threads));
}

}  // namespace

extern "C" {
void mirror_step_float32(int64_t kind, double parameter, int64_t count, const int64_t* sizes,
                         float** x, float** g, float** m, float** v, const Options* o,
                         int64_t threads) {
  all<float>(kind, parameter, count, sizes, x, g, m, v, o, threads);
}
void mirror_step_float64(int64_t kind, double parameter, int64_t count, const int64_t* sizes,
                         double** x, double** g, double** m, double** v, const Options* o,
                         int64_t threads) {
  all<double>(kind, parameter, count, sizes, x, g, m, v, o, threads);
}
}
