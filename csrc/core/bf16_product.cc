#include "core/bf16_product.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

#include "core/bf16_product_table.h"
#include "core/instructions.h"
#include "core/team.h"

namespace hybrid_fast {
namespace {

// The pairs of a panel that are multiplied at a time: 64 KiB, half of which the first-level cache
// holds and all of it the second.
constexpr std::int64_t kPairsOfBlock = 256;
constexpr std::int64_t kRowsOfBlock = 64;
constexpr std::int64_t kPairsAhead = 16;
static_assert(kSide == kPairsOfTile && kPanel % kSide == 0 && kPairsOfBlock % kSide == 0);

using Words = std::vector<std::uint32_t>;

const ProductKernels* choose() {
#if defined(__x86_64__)
  const std::string_view name = chosen_instructions();
#if defined(HYBRID_FAST_AMX)
  if (name == "amx") return &kProduct_amx;
#endif
  if (name == "avx512" && __builtin_cpu_supports("avx512bf16")) return &kProduct_avx512bf16;
#else
  chosen_instructions();
#endif
  return nullptr;
}

Bf16Vectors part_of(const Bf16Vectors& rows, std::int64_t first, std::int64_t size) {
  return {rows.data + first * rows.stride, size, rows.dim, rows.stride, rows.step};
}

std::uint32_t word(std::uint16_t low, std::uint16_t high) {
  return low | std::uint32_t{high} << 16;
}

// Writes pairs [first, first + count) of a vector with step 1 and zeros up to `end`. The last
// coordinate of an odd number of them is paired with 0.
void copy_pairs(const std::uint16_t* vector, std::int64_t dim, std::int64_t first,
                std::int64_t count, std::uint32_t* out, std::int64_t end) {
  const std::int64_t whole = std::min(count, dim / 2 - first);
  std::memcpy(out, vector + 2 * first, whole * sizeof(*out));
  std::fill(out + whole, out + end, 0);
  if (whole < count) out[whole] = vector[dim - 1];
}

// Asks for coordinate d of vectors whose stride is 1. Every coordinate begins another page when
// there are many vectors, and processors fetch ahead within a page.
void fetch_ahead(const Bf16Vectors& vectors, std::int64_t d) {
  constexpr std::int64_t kPerLine = 64 / sizeof(std::uint16_t);
  if (d >= vectors.dim) return;
  const std::uint16_t* coordinates = vectors.data + d * vectors.step;
  for (std::int64_t v = 0; v < vectors.size; v += kPerLine) __builtin_prefetch(coordinates + v);
}

// Writes pair k of all vectors, whose stride is 1, and zeros up to `end`.
void zip_pairs(const Bf16Vectors& vectors, std::int64_t k, std::uint32_t* out, std::int64_t end) {
  fetch_ahead(vectors, 2 * (k + kPairsAhead));
  fetch_ahead(vectors, 2 * (k + kPairsAhead) + 1);
  const std::uint16_t* low = vectors.data + 2 * k * vectors.step;
  if (2 * k + 1 < vectors.dim) {
    const std::uint16_t* high = low + vectors.step;
    for (std::int64_t v = 0; v < vectors.size; ++v) out[v] = word(low[v], high[v]);
  } else {
    std::copy(low, low + vectors.size, out);
  }
  std::fill(out + vectors.size, out + end, 0);
}

// Pairs [first, first + count) of some rows, as `kernels` want them, in `words`.
PairedRows pair_up(const ProductKernels& kernels, const Bf16Vectors& rows, std::int64_t first,
                   std::int64_t count, Words& words) {
  const std::int64_t unit = kernels.whole_tiles ? kSide : 1;
  const std::int64_t size = round_up(rows.size, unit), pairs = round_up(count, unit);
  words.resize(size * pairs);
  if (rows.step == 1) {
    for (std::int64_t r = 0; r < rows.size; ++r) {
      copy_pairs(rows.data + r * rows.stride, rows.dim, first, count, &words[r * pairs], pairs);
    }
    std::fill(words.begin() + rows.size * pairs, words.end(), 0);
    return {words.data(), rows.size, pairs, 1};
  }
  for (std::int64_t k = 0; k < count; ++k) zip_pairs(rows, first + k, &words[k * size], size);
  if (!kernels.whole_tiles) return {words.data(), rows.size, 1, size};
  std::fill(words.begin() + count * size, words.end(), 0);
  thread_local Words turned;
  turned.resize(words.size());
  for (std::int64_t k = 0; k < pairs; k += kSide) {
    for (std::int64_t r = 0; r < size; r += kSide) {
      kernels.transpose(reinterpret_cast<const std::uint16_t*>(&words[k * size + r]), 2 * size,
                        &turned[r * pairs + k], pairs);
    }
  }
  return {turned.data(), rows.size, pairs, 1};
}

// Columns whose coordinates lie side by side: blocks of them are transposed. What is no whole block
// is first made one.
void pack_across(const Bf16Vectors& columns, std::uint32_t* panel) {
  const auto transpose =
      product_kernels() == nullptr ? &transpose_plainly : product_kernels()->transpose;
  const std::int64_t pairs = num_pairs(columns.dim);
  for (std::int64_t c = 0; c < kPanel; c += kSide) {
    const std::int64_t size = std::clamp<std::int64_t>(columns.size - c, 0, kSide);
    for (std::int64_t k = 0; k < pairs; k += kSide) {
      const std::uint16_t* from = columns.data + c * columns.stride;
      std::uint32_t* to = panel + k * kPanel + c;
      if (size == kSide && 2 * (k + kSide) <= columns.dim) {
        transpose(from + 2 * k, columns.stride, to, kPanel);
        continue;
      }
      std::uint32_t block[kSide * kSide] = {};
      for (std::int64_t i = 0; i < size; ++i) {
        copy_pairs(from + i * columns.stride, columns.dim, k, std::min(kSide, pairs - k),
                   block + i * kSide, kSide);
      }
      transpose(reinterpret_cast<const std::uint16_t*>(block), 2 * kSide, to, kPanel);
    }
  }
}

// Columns whose equal coordinates lie side by side.
void pack_along(const Bf16Vectors& columns, std::uint32_t* panel) {
  const std::int64_t pairs = num_pairs(columns.dim);
  for (std::int64_t k = 0; k < pairs; ++k) zip_pairs(columns, k, panel + k * kPanel, kPanel);
  std::fill(panel + pairs * kPanel, panel + round_up(pairs, kSide) * kPanel, 0);
}

}  // namespace

const ProductKernels* product_kernels() {
  static const ProductKernels* const kernels = choose();
  return kernels;
}

bool has_bf16_product() { return product_kernels() != nullptr; }
std::int64_t bf16_rows_at_once() { return product_kernels()->rows_at_once; }

void pack_bf16(const Bf16Vectors& columns, std::uint16_t* packed, int num_threads) {
  const std::int64_t work = columns.size * columns.dim / 16;
  const auto num_panels = static_cast<std::size_t>(round_up(columns.size, kPanel) / kPanel);
  parallel_for_in_team(num_panels, work, num_threads, [&](std::size_t number) {
    const auto first = static_cast<std::int64_t>(number) * kPanel;
    const Bf16Vectors some = part_of(columns, first, std::min(kPanel, columns.size - first));
    auto* panel = reinterpret_cast<std::uint32_t*>(packed + number * panel_size(columns.dim));
    if (columns.step == 1) {
      pack_across(some, panel);
    } else {
      pack_along(some, panel);
    }
  });
}

void multiply_with(const ProductKernels& kernels, const Bf16Vectors& rows,
                   const std::uint16_t* packed, std::int64_t num_columns, float* out, bool add) {
  const std::int64_t pairs = num_pairs(rows.dim);
  if (pairs == 0 && !add) std::fill(out, out + rows.size * num_columns, 0.0f);
  const auto* panels = reinterpret_cast<const std::uint32_t*>(packed);
  thread_local Words words;
  for (std::int64_t first = 0; first < pairs; first += kPairsOfBlock) {
    const std::int64_t count = std::min(kPairsOfBlock, pairs - first);
    kernels.multiply(pair_up(kernels, rows, first, count, words),
                     {panels + first * kPanel, num_columns, panel_size(rows.dim) / 2,
                      kernels.whole_tiles ? round_up(count, kSide) : count},
                     {out, num_columns, add || first > 0});
  }
}

void multiply_bf16(const Bf16Vectors& rows, const std::uint16_t* packed, std::int64_t num_columns,
                   float* out, bool add) {
  multiply_with(*product_kernels(), rows, packed, num_columns, out, add);
}

void multiply_bf16(const Bf16Vectors& rows, const std::uint16_t* packed, std::int64_t num_columns,
                   float* out, bool add, int num_threads) {
  const std::int64_t work = rows.size * num_columns * (1 + rows.dim / 64);
  const auto blocks = static_cast<std::size_t>(round_up(rows.size, kRowsOfBlock) / kRowsOfBlock);
  parallel_for_in_team(blocks, work, num_threads, [&](std::size_t block) {
    const std::int64_t first = static_cast<std::int64_t>(block) * kRowsOfBlock;
    multiply_bf16(part_of(rows, first, std::min(kRowsOfBlock, rows.size - first)), packed,
                  num_columns, out + first * num_columns, add);
  });
}

}  // namespace hybrid_fast
