// One instruction multiplies 16 pairs of bfloat16 and adds them to 16 floats.
#include <immintrin.h>

#include <cstdint>

#include "core/bf16_product.h"
#include "core/contrast_rows_table.h"

namespace hybrid_fast {
namespace {

constexpr int kVectors = kPanel / 16;
constexpr int kMostRows = 6;  // times four vectors: 24 sums, of the 32 registers that there are

template <int kRows>
void multiply_rows(PairedRows rows, const std::uint32_t* panel, std::int64_t pairs, Tile out) {
  __mmask16 lanes[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const std::int64_t left = out.count - 16 * v;
    lanes[v] = static_cast<__mmask16>(left >= 16 ? 0xFFFF : left > 0 ? (1u << left) - 1 : 0);
  }
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = out.add ? _mm512_maskz_loadu_ps(lanes[v], out.data + r * out.stride + 16 * v)
                           : _mm512_setzero_ps();
    }
  }
  for (std::int64_t k = 0; k < pairs; ++k) {
    __m512bh columns[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      columns[v] = (__m512bh)_mm512_loadu_si512(panel + k * kPanel + 16 * v);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto row = (__m512bh)_mm512_set1_epi32(
          static_cast<int>(rows.words[r * rows.stride + k * rows.step]));
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
      _mm512_mask_storeu_ps(out.data + r * out.stride + 16 * v, lanes[v], sums[r][v]);
    }
  }
}

void multiply(PairedRows rows, std::int64_t num_rows, const std::uint32_t* panel,
              std::int64_t pairs, Tile out) {
  constexpr decltype(&multiply_rows<1>) kernels[] = {&multiply_rows<1>, &multiply_rows<2>,
                                                     &multiply_rows<3>, &multiply_rows<4>,
                                                     &multiply_rows<5>, &multiply_rows<6>};
  for (std::int64_t first = 0; first < num_rows; first += kMostRows) {
    const std::int64_t left = num_rows - first;
    kernels[(left < kMostRows ? left : kMostRows) - 1](rows, panel, pairs, out);
    rows.words += kMostRows * rows.stride;
    out.data += kMostRows * out.stride;
  }
}

}  // namespace

const ProductKernels kProduct_avx512bf16 = {&multiply};

}  // namespace hybrid_fast
