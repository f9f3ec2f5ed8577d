// For a library that any x86-64 processor may load: mirror.cpp compiled once per level, and here the
// choice between them. Only the wheel has it; what is built on first use knows its processor.

#include <cstdint>

namespace {

template <class F> F* choose(F* plain, F* avx2, F* avx512) {
  __builtin_cpu_init();
  const bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool wide = fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  return wide ? avx512 : fma ? avx2 : plain;
}

}  // namespace

#define ENTRY(name, parameters, arguments) \
  void name##_plain parameters; \
  void name##_avx2 parameters; \
  void name##_avx512 parameters; \
  void name parameters { \
    static auto* const chosen = choose(name##_plain, name##_avx2, name##_avx512); \
    chosen arguments; \
  }
#define ENTRIES(type, T) \
  ENTRY(mirror_step_##type, \
        (int64_t kind, const double* parameters, int64_t count, const int64_t* n, T** x, T** g, \
         T** m, T** v, const void* o, int64_t threads), \
        (kind, parameters, count, n, x, g, m, v, o, threads)) \
  ENTRY(mirror_measure_##type, \
        (int64_t kind, const double* parameters, int64_t count, const int64_t* n, T** x, T** d, \
         T** to, const void* o, int64_t threads, double* sums), \
        (kind, parameters, count, n, x, d, to, o, threads, sums))

extern "C" {
ENTRIES(float32, float)
ENTRIES(float64, double)
}
