// Four columns become rows.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace hybrid_fast {

// Copies four columns of length n, whose entries lie side by side and which are `stride` apart, to
// rows that are `width` apart.
// Each file has its own: files are compiled for different instruction sets.
static inline void transpose_four(const float* columns, std::int64_t stride, std::int64_t n,
                                  float* out, std::int64_t width) {
  std::int64_t r = 0;
#if defined(__SSE2__)
  for (; r + 4 <= n; r += 4) {
    __m128 a = _mm_loadu_ps(columns + r), b = _mm_loadu_ps(columns + stride + r);
    __m128 c = _mm_loadu_ps(columns + 2 * stride + r), d = _mm_loadu_ps(columns + 3 * stride + r);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(out + r * width, a);
    _mm_storeu_ps(out + (r + 1) * width, b);
    _mm_storeu_ps(out + (r + 2) * width, c);
    _mm_storeu_ps(out + (r + 3) * width, d);
  }
#endif
  for (; r < n; ++r) {
    for (std::int64_t c = 0; c < 4; ++c) out[r * width + c] = columns[c * stride + r];
  }
}

}  // namespace hybrid_fast
