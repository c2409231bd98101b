// One instruction multiplies 16 pairs of bfloat16 and adds them to 16 floats.
#include <immintrin.h>

#include <cstdint>

#include "core/bf16_product_table.h"

namespace hybrid_fast {
namespace {

constexpr int kVectors = kPanel / 16;
constexpr int kMostRows = 6;  // times four vectors: 24 sums, of the 32 registers that there are

// Rows times the `columns.size` columns of one panel. What it adds to comes into the cache while it
// multiplies.
template <int kRows>
void multiply_rows(PairedRows rows, PairedColumns columns, Sums out) {
  __mmask16 lanes[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const std::int64_t left = columns.size - 16 * v;
    lanes[v] = static_cast<__mmask16>(left >= 16 ? 0xFFFF : left > 0 ? (1u << left) - 1 : 0);
  }
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      __builtin_prefetch(out.data + r * out.stride + 16 * v, 1);
      sums[r][v] = _mm512_setzero_ps();
    }
  }
  for (std::int64_t k = 0; k < columns.pairs; ++k) {
    __m512bh column[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      column[v] = (__m512bh)_mm512_loadu_si512(columns.words + k * kPanel + 16 * v);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto row = (__m512bh)_mm512_set1_epi32(
          static_cast<int>(rows.words[r * rows.stride + k * rows.step]));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = _mm512_dpbf16_ps(sums[r][v], row, column[v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      float* to = out.data + r * out.stride + 16 * v;
      if (out.add) sums[r][v] = _mm512_add_ps(sums[r][v], _mm512_maskz_loadu_ps(lanes[v], to));
      _mm512_mask_storeu_ps(to, lanes[v], sums[r][v]);
    }
  }
}

void multiply(PairedRows rows, PairedColumns columns, Sums out) {
  constexpr decltype(&multiply_rows<1>) kernels[] = {&multiply_rows<1>, &multiply_rows<2>,
                                                     &multiply_rows<3>, &multiply_rows<4>,
                                                     &multiply_rows<5>, &multiply_rows<6>};
  for (std::int64_t c = 0; c < columns.size; c += kPanel) {
    const std::int64_t width = columns.size - c < kPanel ? columns.size - c : kPanel;
    const PairedColumns panel{columns.words + c / kPanel * columns.stride, width, columns.stride,
                              columns.pairs};
    for (std::int64_t r = 0; r < rows.size; r += kMostRows) {
      const std::int64_t high = rows.size - r < kMostRows ? rows.size - r : kMostRows;
      kernels[high - 1]({rows.words + r * rows.stride, high, rows.stride, rows.step}, panel,
                        {out.data + r * out.stride + c, out.stride, out.add});
    }
  }
}

}  // namespace

const ProductKernels kProduct_avx512bf16 = {&multiply, &transpose_avx512, kMostRows, false};

}  // namespace hybrid_fast
