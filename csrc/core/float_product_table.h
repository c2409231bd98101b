// The product of each instruction set.
#pragma once

#include <cstdint>

#include "core/float_product.h"

namespace hybrid_fast {

// A left factor as it lies in memory, and a panel of the right one: `depth` rows of
// `panel_columns`, side by side; columns that it lacks are anything.
struct FloatProductPart {
  const float* left;
  std::int64_t num_rows, stride, step;
  const float* panel;
  std::int64_t depth;
  float* out;  // its rows are out_stride apart
  std::int64_t out_stride;
  std::int64_t num_columns;  // of the result, at most panel_columns
  bool add;
  const float* bias;  // of each column, to begin with, if it is not added; null: 0
};

struct FloatProductKernels {
  std::int64_t panel_columns;
  // Copies at most panel_columns columns to a panel, in which those that lack are 0.
  void (*pack)(const FloatMatrix& columns, float* panel);
  void (*multiply)(const FloatProductPart&);
};

extern const FloatProductKernels kFloatProduct_portable;
#if defined(__x86_64__)
extern const FloatProductKernels kFloatProduct_avx2, kFloatProduct_avx512;
#endif

}  // namespace hybrid_fast
