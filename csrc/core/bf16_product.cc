#include "core/bf16_product.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/contrast_rows_table.h"
#include "core/parallel.h"

namespace hybrid_fast {

bool has_bf16_product() { return product_kernels() != nullptr; }

void pack_bf16(const std::uint16_t* columns, std::int64_t num_columns, std::int64_t dim,
               std::uint16_t* packed, int num_threads) {
  const std::int64_t num_panels = (num_columns + kPanel - 1) / kPanel, pairs = num_pairs(dim);
  parallel_for(static_cast<std::size_t>(num_panels), num_threads, [&](std::size_t number) {
    const std::int64_t first = static_cast<std::int64_t>(number) * kPanel;
    std::uint16_t* panel = packed + first * 2 * pairs;
    std::fill(panel, panel + kPanel * 2 * pairs, std::uint16_t{0});
    for (std::int64_t c = 0; c < std::min(kPanel, num_columns - first); ++c) {
      const std::uint16_t* column = columns + (first + c) * dim;
      for (std::int64_t d = 0; d < dim; ++d) {
        panel[(d / 2) * 2 * kPanel + 2 * c + d % 2] = column[d];
      }
    }
  });
}

void multiply_bf16(const std::uint16_t* rows, std::int64_t num_rows, const std::uint16_t* packed,
                   std::int64_t num_columns, std::int64_t dim, float* out) {
  const std::int64_t pairs = num_pairs(dim);
  // Rows as pairs of coordinates, the last one filled up with 0.
  std::vector<std::uint32_t> words(num_rows * pairs, 0);
  for (std::int64_t r = 0; r < num_rows; ++r) {
    std::memcpy(words.data() + r * pairs, rows + r * dim, dim * sizeof(std::uint16_t));
  }
  const ProductKernels& kernels = *product_kernels();
  for (std::int64_t first = 0; first < num_columns; first += kPanel) {
    const auto* panel = reinterpret_cast<const std::uint32_t*>(packed + first * 2 * pairs);
    const std::int64_t count = std::min(kPanel, num_columns - first);
    std::int64_t r = 0;
    for (; r + kernels.num_rows <= num_rows; r += kernels.num_rows) {
      kernels.multiply_rows(words.data() + r * pairs, pairs, panel, pairs,
                            out + r * num_columns + first, num_columns, count);
    }
    for (; r < num_rows; ++r) {
      kernels.multiply_row(words.data() + r * pairs, pairs, panel, pairs,
                           out + r * num_columns + first, num_columns, count);
    }
  }
}

}  // namespace hybrid_fast
