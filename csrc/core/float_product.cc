#include "core/float_product.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

#include "core/float_product_table.h"
#include "core/instructions.h"
#include "core/parallel.h"

namespace hybrid_fast {
namespace {

const FloatProductKernels& chosen() {
  static const FloatProductKernels& kernels = []() -> const FloatProductKernels& {
#if defined(__x86_64__)
    const std::string_view name = chosen_instructions();
    if (name == "avx512") return kFloatProduct_avx512;
    if (name == "avx2") return kFloatProduct_avx2;
#else
    chosen_instructions();
#endif
    return kFloatProduct_portable;
  }();
  return kernels;
}

// A block of the right factor, 384 KiB, and what it is multiplied with lie in the second-level
// cache together.
constexpr std::int64_t kDepth = 256, kColumns = 384;
constexpr std::int64_t kFewestRows = 96, kMostRows = 384;  // a block is copied once for so many

FloatMatrix part_of(const FloatMatrix& m, std::int64_t row, std::int64_t num_rows,
                    std::int64_t column, std::int64_t num_columns) {
  return {m.data + row * m.stride + column * m.step, num_rows, num_columns, m.stride, m.step};
}

// Panels of `width` columns, one after the other.
void pack_panels(const FloatMatrix& b, std::int64_t width, float* out) {
  for (std::int64_t first = 0; first < b.num_columns; first += width) {
    const std::int64_t count = std::min(width, b.num_columns - first);
    const float* data = b.data + first * b.step;
    for (std::int64_t r = 0; r < b.num_rows; ++r, out += width) {
      if (b.step == 1) {
        std::memcpy(out, data + r * b.stride, count * sizeof(float));
      } else {
        for (std::int64_t c = 0; c < count; ++c) out[c] = data[r * b.stride + c * b.step];
      }
      std::fill(out + count, out + width, 0.0f);
    }
  }
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
                    bool add) {
  thread_local std::vector<float> panels, rows;
  const std::int64_t width = chosen().panel_columns;
  const std::int64_t num_panels = (b.num_columns + width - 1) / width;
  for (std::int64_t first = 0; first < b.num_rows; first += kDepth) {
    const std::int64_t depth = std::min(kDepth, b.num_rows - first);
    panels.resize(num_panels * width * depth);
    pack_panels(part_of(b, first, depth, 0, b.num_columns), width, panels.data());
    const FloatMatrix left = gathered(part_of(a, 0, a.num_rows, first, depth), rows);
    for (std::int64_t panel = 0; panel < num_panels; ++panel) {
      const std::int64_t column = panel * width;
      chosen().multiply({left.data, left.num_rows, left.stride, left.step,
                         panels.data() + panel * width * depth, depth, out + column, out_stride,
                         std::min(width, b.num_columns - column), add || first > 0});
    }
  }
}

}  // namespace

void multiply_float(const FloatMatrix& a, const FloatMatrix& b, float* out, bool add,
                    int num_threads) {
  const std::int64_t num_rows = a.num_rows, num_columns = b.num_columns;
  if (b.num_rows == 0 && !add) std::fill(out, out + num_rows * num_columns, 0.0f);
  if (num_rows * num_columns * b.num_rows == 0) return;
  num_threads = threads_for(num_rows * num_columns * (1 + b.num_rows / 64), num_threads);
  const std::int64_t across = (num_columns + kColumns - 1) / kColumns;
  const std::int64_t share = (num_rows * across + num_threads - 1) / num_threads;
  const std::int64_t rows = std::clamp((share + 5) / 6 * 6, kFewestRows, kMostRows);
  const std::int64_t down = (num_rows + rows - 1) / rows;
  parallel_for(static_cast<std::size_t>(across * down), num_threads, [&](std::size_t block) {
    const std::int64_t row = static_cast<std::int64_t>(block) / across * rows;
    const std::int64_t column = static_cast<std::int64_t>(block) % across * kColumns;
    const std::int64_t height = std::min(rows, num_rows - row);
    const std::int64_t breadth = std::min(kColumns, num_columns - column);
    multiply_block(part_of(a, row, height, 0, b.num_rows),
                   part_of(b, 0, b.num_rows, column, breadth), out + row * num_columns + column,
                   num_columns, add);
  });
}

}  // namespace hybrid_fast
