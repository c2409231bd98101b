// The kernels of each instruction set, and the choice among them.
#pragma once

#include <cstdint>

#include "core/contrast_rows.h"

namespace hybrid_fast {

template <typename T>
struct ContrastKernels {
  void (*contrast_row)(const ContrastChunk<T>&, const ContrastGradient<T>&, std::int64_t row);
  void (*prepare_column_row)(const ContrastChunk<T>&, T* positive_logits, std::int64_t row);
  void (*sum_columns)(const ContrastChunk<T>&, T* largest, T* sums, std::int64_t first,
                      std::int64_t count);
};

extern const ContrastKernels<float> kContrast_portable;
extern const ContrastKernels<double> kContrastDouble;
#if defined(__x86_64__)
extern const ContrastKernels<float> kContrast_avx2, kContrast_avx512;
#endif

// Rows of bfloat16 in pairs of coordinates: pair k of row r is words[r * stride + k * step].
struct PairedRows {
  const std::uint32_t* words;
  std::int64_t stride;
  std::int64_t step;
};

// Where a product with one panel goes: `count` columns, rows `stride` apart.
struct Tile {
  float* data;
  std::int64_t stride;
  std::int64_t count;
  bool add;  // to what is there
};

// The inner loop of bf16_product.h: rows times `pairs` pairs of a panel.
struct ProductKernels {
  void (*multiply)(PairedRows rows, std::int64_t num_rows, const std::uint32_t* panel,
                   std::int64_t pairs, Tile out);
};

#if defined(__x86_64__)
extern const ProductKernels kProduct_avx512bf16;
#endif
// Those of this processor; null: it has none.
const ProductKernels* product_kernels();

constexpr std::int64_t kColumnsOfBlock = 256;  // as sum_columns takes at once

}  // namespace hybrid_fast
