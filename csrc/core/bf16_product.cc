#include "core/bf16_product.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/contrast_rows_table.h"
#include "core/team.h"

namespace hybrid_fast {
namespace {

// The pairs of a panel that are multiplied at a time: 64 KiB, half of which the first-level cache
// holds and all of it the second.
constexpr std::int64_t kPairsOfBlock = 256;
constexpr std::int64_t kRowsOfBlock = 64;

Bf16Vectors part_of(const Bf16Vectors& rows, std::int64_t first, std::int64_t size) {
  return {rows.data + first * rows.stride, size, rows.dim, rows.stride, rows.step};
}

// Pairs of coordinates [first, first + count) of some rows; what the last one lacks is 0. They keep
// the order in memory of the rows, which is then read line by line.
PairedRows pair_up(const Bf16Vectors& rows, std::int64_t first, std::int64_t count,
                   std::vector<std::uint32_t>& words) {
  words.resize(rows.size * count);
  const std::int64_t whole = std::min(count, rows.dim / 2 - first);  // pairs
  if (rows.step == 1) {
    for (std::int64_t r = 0; r < rows.size; ++r) {
      const std::uint16_t* row = rows.data + r * rows.stride + 2 * first;
      std::uint32_t* out = words.data() + r * count;
      std::memcpy(out, row, whole * sizeof(std::uint32_t));
      if (whole < count) out[whole] = row[2 * whole];
    }
    return {words.data(), count, 1};
  }
  for (std::int64_t k = 0; k < count; ++k) {
    const std::uint16_t* low = rows.data + 2 * (first + k) * rows.step;
    std::uint32_t* out = words.data() + k * rows.size;
    if (k < whole) {
      const std::uint16_t* high = low + rows.step;
      for (std::int64_t r = 0; r < rows.size; ++r) out[r] = low[r] | std::uint32_t{high[r]} << 16;
    } else {
      std::copy(low, low + rows.size, out);
    }
  }
  return {words.data(), 1, rows.size};
}

}  // namespace

bool has_bf16_product() { return product_kernels() != nullptr; }

void pack_bf16(const Bf16Vectors& columns, std::uint16_t* packed, int num_threads) {
  const std::int64_t num_panels = (columns.size + kPanel - 1) / kPanel;
  const std::int64_t pairs = num_pairs(columns.dim);
  const std::int64_t size = columns.size * columns.dim;
  parallel_for_in_team(static_cast<std::size_t>(num_panels), size, num_threads, [&](std::size_t number) {
    const std::int64_t first = static_cast<std::int64_t>(number) * kPanel;
    const std::int64_t size = std::min(kPanel, columns.size - first);
    std::uint16_t* panel = packed + first * 2 * pairs;
    if (size < kPanel || columns.dim % 2 == 1) {
      std::fill(panel, panel + kPanel * 2 * pairs, std::uint16_t{0});
    }
    const auto copy = [&](std::int64_t c, std::int64_t d) {
      panel[(d / 2) * 2 * kPanel + 2 * c + d % 2] =
          columns.data[(first + c) * columns.stride + d * columns.step];
    };
    if (columns.step == 1) {
      for (std::int64_t c = 0; c < size; ++c) {
        for (std::int64_t d = 0; d < columns.dim; ++d) copy(c, d);
      }
    } else {
      for (std::int64_t d = 0; d < columns.dim; ++d) {
        for (std::int64_t c = 0; c < size; ++c) copy(c, d);
      }
    }
  });
}

void multiply_bf16(const Bf16Vectors& rows, const std::uint16_t* packed, std::int64_t num_columns,
                   float* out, bool add) {
  const std::int64_t pairs = num_pairs(rows.dim);
  const auto* panels = reinterpret_cast<const std::uint32_t*>(packed);
  thread_local std::vector<std::uint32_t> words;
  for (std::int64_t first = 0; first < pairs; first += kPairsOfBlock) {
    const std::int64_t count = std::min(kPairsOfBlock, pairs - first);
    const PairedRows block = pair_up(rows, first, count, words);
    for (std::int64_t column = 0; column < num_columns; column += kPanel) {
      product_kernels()->multiply(
          block, rows.size, panels + column * pairs + first * kPanel, count,
          {out + column, num_columns, std::min(kPanel, num_columns - column), add || first > 0});
    }
  }
}

void multiply_bf16(const Bf16Vectors& rows, const std::uint16_t* packed, std::int64_t num_columns,
                   float* out, bool add, int num_threads) {
  const std::int64_t work = rows.size * num_columns * (1 + rows.dim / 64);
  const auto blocks = static_cast<std::size_t>((rows.size + kRowsOfBlock - 1) / kRowsOfBlock);
  parallel_for_in_team(blocks, work, num_threads, [&](std::size_t block) {
    const std::int64_t first = static_cast<std::int64_t>(block) * kRowsOfBlock;
    multiply_bf16(part_of(rows, first, std::min(kRowsOfBlock, rows.size - first)), packed,
                  num_columns, out + first * num_columns, add);
  });
}

}  // namespace hybrid_fast
