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

// One row, or `num_rows` of them, times a panel of `count` columns; see bf16_product.h.
struct ProductKernels {
  using Multiply = void (*)(const std::uint32_t* rows, std::int64_t stride,
                            const std::uint32_t* panel, std::int64_t pairs, float* out,
                            std::int64_t out_stride, std::int64_t count);
  Multiply multiply_row, multiply_rows;
  std::int64_t num_rows;
};

#if defined(__x86_64__)
extern const ProductKernels kProduct_avx512bf16;
#endif
// Those of this processor; null: it has none.
const ProductKernels* product_kernels();

constexpr std::int64_t kColumnsOfBlock = 256;  // as sum_columns takes at once

}  // namespace hybrid_fast
