#include "core/float_product.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/float_product_table.h"
#include "core/instructions.h"
#include "core/team.h"

namespace hybrid_fast {
namespace {

const FloatProductKernels& chosen() {
  static const FloatProductKernels& kernels = HYBRID_FAST_CHOSEN(kFloatProduct);
  return kernels;
}

// A panel of the right factor, 96 KiB at most, and the rows that it is multiplied with, 576 KiB,
// lie in the second-level cache together. It is copied once for so many rows.
constexpr std::int64_t kDepth = 384, kColumns = 384;
constexpr std::int64_t kFewestRows = 96, kMostRows = 384;

FloatMatrix part_of(const FloatMatrix& m, std::int64_t row, std::int64_t num_rows,
                    std::int64_t column, std::int64_t num_columns) {
  return {m.data + row * m.stride + column * m.step, num_rows, num_columns, m.stride, m.step};
}

// Rows whose entries lie far apart, copied so that the entries of a column lie side by side.
FloatMatrix gathered(const FloatMatrix& a, std::vector<float>& scratch) {
  if (a.step == 1) return a;
  scratch.resize(a.num_rows * a.num_columns);
  for (std::int64_t k = 0; k < a.num_columns; ++k) {
    float* out = scratch.data() + k * a.num_rows;
    const float* column = a.data + k * a.step;
    if (a.stride == 1) {
      std::memcpy(out, column, a.num_rows * sizeof(float));
    } else {
      for (std::int64_t r = 0; r < a.num_rows; ++r) out[r] = column[r * a.stride];
    }
  }
  return {scratch.data(), a.num_rows, a.num_columns, 1, a.num_rows};
}

// One block of rows and columns of the result, whose rows are out_stride apart.
void multiply_block(const FloatMatrix& a, const FloatMatrix& b, float* out, std::int64_t out_stride,
                    bool add, const float* bias) {
  thread_local std::vector<float> panel, rows;
  const std::int64_t width = chosen().panel_columns;
  panel.resize(kDepth * width);
  for (std::int64_t first = 0; first < b.num_rows; first += kDepth) {
    const std::int64_t depth = std::min(kDepth, b.num_rows - first);
    const FloatMatrix left = gathered(part_of(a, 0, a.num_rows, first, depth), rows);
    for (std::int64_t column = 0; column < b.num_columns; column += width) {
      const std::int64_t count = std::min(width, b.num_columns - column);
      chosen().pack(part_of(b, first, depth, column, count), panel.data());
      chosen().multiply({left.data, left.num_rows, left.stride, left.step, panel.data(), depth,
                         out + column, out_stride, count, add || first > 0,
                         bias == nullptr ? nullptr : bias + column});
    }
  }
}

void fill_rows(float* out, std::int64_t num_rows, std::int64_t num_columns, const float* bias) {
  for (std::int64_t row = 0; row < num_rows; ++row) {
    float* begin = out + row * num_columns;
    if (bias == nullptr) {
      std::fill(begin, begin + num_columns, 0.0f);
    } else {
      std::copy(bias, bias + num_columns, begin);
    }
  }
}

}  // namespace

void multiply_float(const FloatMatrix& a, const FloatMatrix& b, float* out, bool add,
                    const float* bias, int num_threads) {
  const std::int64_t num_rows = a.num_rows, num_columns = b.num_columns;
  if (b.num_rows == 0 && !add) fill_rows(out, num_rows, num_columns, bias);
  if (num_rows * num_columns * b.num_rows == 0) return;
  const std::int64_t work = num_rows * num_columns * (1 + b.num_rows / 64);
  const int threads = threads_for(work, num_threads);
  const std::int64_t across = (num_columns + kColumns - 1) / kColumns;
  const std::int64_t share = (num_rows * across + threads - 1) / threads;
  const std::int64_t rows = std::clamp((share + 5) / 6 * 6, kFewestRows, kMostRows);
  const std::int64_t down = (num_rows + rows - 1) / rows;
  const auto blocks = static_cast<std::size_t>(across * down);
  parallel_for_in_team(blocks, work, num_threads, [&](std::size_t block) {
    const std::int64_t row = static_cast<std::int64_t>(block) / across * rows;
    const std::int64_t column = static_cast<std::int64_t>(block) % across * kColumns;
    const std::int64_t height = std::min(rows, num_rows - row);
    const std::int64_t breadth = std::min(kColumns, num_columns - column);
    multiply_block(part_of(a, row, height, 0, b.num_rows),
                   part_of(b, 0, b.num_rows, column, breadth), out + row * num_columns + column,
                   num_columns, add, bias == nullptr ? nullptr : bias + column);
  });
}

}  // namespace hybrid_fast
