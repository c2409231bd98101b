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

constexpr std::int64_t kColumnsOfBlock = 256;  // as sum_columns takes at once

}  // namespace hybrid_fast
