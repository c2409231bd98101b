// Products of float matrices of any layout, added in place where a library would copy.
#pragma once

#include <cstdint>

namespace hybrid_fast {

// Entry (r, c) is data[r * stride + c * step]; fastest where one of stride and step is 1.
struct FloatMatrix {
  const float* data;
  std::int64_t num_rows, num_columns;
  std::int64_t stride, step;
};

// Writes a b to out (a.num_rows, b.num_columns), or adds it to what is there, or to a bias of each
// column, shared out over num_threads threads. An entry depends on its row, its column and the
// instructions alone, to the bit: not on the threads, nor on what else is multiplied.
// REQUIRES: a.num_columns == b.num_rows; bias is null if `add`
// Throws std::invalid_argument if HYBRID_FAST_CPU names no instructions of this processor.
void multiply_float(const FloatMatrix& a, const FloatMatrix& b, float* out, bool add,
                    const float* bias, int num_threads);

}  // namespace hybrid_fast
