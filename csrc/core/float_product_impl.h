// The product of a few rows and one panel, once for each instruction set; see vectors.h.
#include <cstdint>

#include "core/float_product_table.h"
#include "core/small_product.h"

namespace hybrid_fast::HYBRID_FAST_ISA {

constexpr std::int64_t kPanelColumns = kWideVectors * kLanes;

// What is added to comes from memory while the rows before it are multiplied.
inline void prefetch_rows(const FloatProductPart& p, std::int64_t first) {
  const std::int64_t last = first + kWideRows < p.num_rows ? first + kWideRows : p.num_rows;
  for (std::int64_t row = first; row < last; ++row) {
    for (std::int64_t c = 0; c < p.num_columns; c += 16) {  // a line of 64 bytes
      __builtin_prefetch(p.out + row * p.out_stride + c, 1);
    }
  }
}

template <int kRows, bool kAdd>
void multiply_rows(const FloatProductPart& p, std::int64_t first) {
  float* out = p.out + first * p.out_stride;
  if (kAdd) prefetch_rows(p, first + kRows);
  const LeftFactor rows = {p.left + first * p.stride, p.stride, p.step};
  if (p.num_columns == kPanelColumns) {
    multiply_tile<kRows, kWideVectors, kAdd>(rows, p.panel, kPanelColumns, out, p.out_stride,
                                             p.depth);
    return;
  }
  float tile[kRows * kPanelColumns];
  multiply_tile<kRows, kWideVectors, false>(rows, p.panel, kPanelColumns, tile, kPanelColumns,
                                            p.depth);
  for (int r = 0; r < kRows; ++r) {
    for (std::int64_t c = 0; c < p.num_columns; ++c) {
      float& sum = out[r * p.out_stride + c];
      sum = kAdd ? sum + tile[r * kPanelColumns + c] : tile[r * kPanelColumns + c];
    }
  }
}

template <bool kAdd>
void multiply_all_rows(const FloatProductPart& p) {
  std::int64_t row = 0;
  for (; row + kWideRows <= p.num_rows; row += kWideRows) multiply_rows<kWideRows, kAdd>(p, row);
  constexpr decltype(&multiply_rows<1, kAdd>) kLast[] = {
      &multiply_rows<1, kAdd>, &multiply_rows<2, kAdd>, &multiply_rows<3, kAdd>,
      &multiply_rows<4, kAdd>, &multiply_rows<5, kAdd>};
  if (row < p.num_rows) kLast[p.num_rows - row - 1](p, row);
}

void multiply(const FloatProductPart& part) {
  part.add ? multiply_all_rows<true>(part) : multiply_all_rows<false>(part);
}

constexpr FloatProductKernels kFloatProduct = {kPanelColumns, &multiply};

}  // namespace hybrid_fast::HYBRID_FAST_ISA
