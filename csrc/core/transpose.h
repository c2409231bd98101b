// Columns become rows. Each file has its own functions: files are compiled for different
// instruction sets.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif
#if defined(__AVX512F__)
#include "core/transpose_avx512.h"
#endif

namespace hybrid_fast {

// Entries from `first` to n of `count` columns, one by one.
static inline void transpose_rest(const float* columns, std::int64_t stride, std::int64_t count,
                                  std::int64_t first, std::int64_t n, float* out,
                                  std::int64_t width) {
  for (std::int64_t r = first; r < n; ++r) {
    for (std::int64_t c = 0; c < count; ++c) out[r * width + c] = columns[c * stride + r];
  }
}

#if defined(__AVX512F__)
static inline void transpose_sixteen(const float* columns, std::int64_t stride, std::int64_t n,
                                     float* out, std::int64_t width) {
  std::int64_t r = 0;
  for (; r + 16 <= n; r += 16) {
    __m512i block[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) block[i] = _mm512_loadu_si512(columns + i * stride + r);
    transpose_block(block);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) _mm512_storeu_si512(out + (r + i) * width, block[i]);
  }
  transpose_rest(columns, stride, 16, r, n, out, width);
}
#endif

#if defined(__SSE2__)
static inline void transpose_four(const float* columns, std::int64_t stride, std::int64_t n,
                                  float* out, std::int64_t width) {
  std::int64_t r = 0;
  for (; r + 4 <= n; r += 4) {
    __m128 a = _mm_loadu_ps(columns + r), b = _mm_loadu_ps(columns + stride + r);
    __m128 c = _mm_loadu_ps(columns + 2 * stride + r), d = _mm_loadu_ps(columns + 3 * stride + r);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(out + r * width, a);
    _mm_storeu_ps(out + (r + 1) * width, b);
    _mm_storeu_ps(out + (r + 2) * width, c);
    _mm_storeu_ps(out + (r + 3) * width, d);
  }
  transpose_rest(columns, stride, 4, r, n, out, width);
}
#endif

// Copies `count` columns of length n, whose entries lie side by side and which are `stride` apart,
// to n rows that are `width` apart.
static inline void transpose_columns(const float* columns, std::int64_t stride, std::int64_t count,
                                     std::int64_t n, float* out, std::int64_t width) {
  std::int64_t c = 0;
#if defined(__AVX512F__)
  for (; c + 16 <= count; c += 16) {
    transpose_sixteen(columns + c * stride, stride, n, out + c, width);
  }
#endif
#if defined(__SSE2__)
  for (; c + 4 <= count; c += 4) transpose_four(columns + c * stride, stride, n, out + c, width);
#endif
  transpose_rest(columns + c * stride, stride, count - c, 0, n, out + c, width);
}

}  // namespace hybrid_fast
