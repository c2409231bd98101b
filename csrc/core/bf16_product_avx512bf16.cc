// One instruction multiplies 16 pairs of bfloat16 and adds them to 16 floats.
#include <immintrin.h>

#include <cstdint>

#include "core/bf16_product.h"
#include "core/contrast_rows_table.h"

namespace hybrid_fast {
namespace {

// Six rows times four vectors: 24 sums, of the 32 registers that there are.
template <int kRows>
void multiply_rows(const std::uint32_t* rows, std::int64_t stride, const std::uint32_t* panel,
                   std::int64_t pairs, float* out, std::int64_t out_stride, std::int64_t count) {
  constexpr int kVectors = kPanel / 16;
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm512_setzero_ps();
  }
  for (std::int64_t k = 0; k < pairs; ++k) {
    __m512bh columns[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      columns[v] = (__m512bh)_mm512_loadu_si512(panel + k * kPanel + 16 * v);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto row = (__m512bh)_mm512_set1_epi32(static_cast<int>(rows[r * stride + k]));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = _mm512_dpbf16_ps(sums[r][v], row, columns[v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const std::int64_t left = count - 16 * v;
      if (left <= 0) continue;
      const auto lanes = static_cast<__mmask16>(left >= 16 ? 0xFFFF : (1u << left) - 1);
      _mm512_mask_storeu_ps(out + r * out_stride + 16 * v, lanes, sums[r][v]);
    }
  }
}

}  // namespace

const ProductKernels kProduct_avx512bf16 = {&multiply_rows<1>, &multiply_rows<6>, 6};

}  // namespace hybrid_fast
