// The product of a few rows and one panel, once for each instruction set; see vectors.h.
#include <cstdint>

#include "core/float_product_table.h"
#include "core/small_product.h"
#include "core/transpose.h"

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

template <int kRows, Start kStart>
void multiply_rows(const FloatProductPart& p, std::int64_t first) {
  float* out = p.out + first * p.out_stride;
  if (kStart == Start::kSums) prefetch_rows(p, first + kRows);
  const LeftFactor rows = {p.left + first * p.stride, p.stride, p.step};
  if (p.num_columns == kPanelColumns) {
    multiply_tile<kRows, kWideVectors, kStart>(rows, p.panel, kPanelColumns, out, p.out_stride,
                                               p.depth, p.bias);
    return;
  }
  // As in a whole panel, sums begin with what they are added to: the same bits in both.
  float tile[kRows * kPanelColumns] = {};
  for (int r = 0; kStart != Start::kZeros && r < kRows; ++r) {
    for (std::int64_t c = 0; c < p.num_columns; ++c) {
      tile[r * kPanelColumns + c] = kStart == Start::kSums ? out[r * p.out_stride + c] : p.bias[c];
    }
  }
  multiply_tile<kRows, kWideVectors, Start::kSums>(rows, p.panel, kPanelColumns, tile,
                                                   kPanelColumns, p.depth);
  for (int r = 0; r < kRows; ++r) {
    for (std::int64_t c = 0; c < p.num_columns; ++c) {
      out[r * p.out_stride + c] = tile[r * kPanelColumns + c];
    }
  }
}

template <Start kStart>
void multiply_all_rows(const FloatProductPart& p) {
  std::int64_t row = 0;
  for (; row + kWideRows <= p.num_rows; row += kWideRows) multiply_rows<kWideRows, kStart>(p, row);
  constexpr decltype(&multiply_rows<1, kStart>) kLast[] = {
      &multiply_rows<1, kStart>, &multiply_rows<2, kStart>, &multiply_rows<3, kStart>,
      &multiply_rows<4, kStart>, &multiply_rows<5, kStart>};
  if (row < p.num_rows) kLast[p.num_rows - row - 1](p, row);
}

void multiply(const FloatProductPart& part) {
  if (part.add) return multiply_all_rows<Start::kSums>(part);
  part.bias == nullptr ? multiply_all_rows<Start::kZeros>(part)
                       : multiply_all_rows<Start::kBias>(part);
}

void pack(const FloatMatrix& columns, float* panel) {
  const std::int64_t depth = columns.num_rows, count = columns.num_columns;
  if (count < kPanelColumns) __builtin_memset(panel, 0, depth * kPanelColumns * sizeof(float));
  if (columns.stride == 1) {
    return transpose_columns(columns.data, columns.step, count, depth, panel, kPanelColumns);
  }
  for (std::int64_t r = 0; r < depth; ++r) {
    const float* from = columns.data + r * columns.stride;
    float* to = panel + r * kPanelColumns;
    if (columns.step == 1) {
      __builtin_memcpy(to, from, count * sizeof(float));
    } else {
      for (std::int64_t c = 0; c < count; ++c) to[c] = from[c * columns.step];
    }
  }
}

constexpr FloatProductKernels kFloatProduct = {kPanelColumns, &pack, &multiply};

}  // namespace hybrid_fast::HYBRID_FAST_ISA
