// Products of bfloat16 matrices with a float result, which torch's products on the CPU do not give:
// A B with exact products of the rounded inputs, summed in float.
//
// B is packed once: panels of kPanel columns; in a panel, for each pair of coordinates, the pairs
// of all its columns side by side. What a panel lacks of columns, or of a multiple of kPairsOfTile
// pairs, is 0.
#pragma once

#include <cstdint>

namespace hybrid_fast {

constexpr std::int64_t kPanel = 64;
constexpr std::int64_t kPairsOfTile = 16;

// Vectors of bfloat16, anywhere in memory: coordinate d of vector v is data[v * stride + d * step].
struct Bf16Vectors {
  const std::uint16_t* data;
  std::int64_t size;  // how many
  std::int64_t dim;
  std::int64_t stride;
  std::int64_t step;  // 1, or `stride` is
};

// `value` or the next multiple of `unit`.
constexpr std::int64_t round_up(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit * unit;
}
constexpr std::int64_t num_pairs(std::int64_t dim) { return (dim + 1) / 2; }
// Numbers of a panel, and of all of them.
constexpr std::int64_t panel_size(std::int64_t dim) {
  return 2 * kPanel * round_up(num_pairs(dim), kPairsOfTile);
}
constexpr std::int64_t packed_size(std::int64_t num_columns, std::int64_t dim) {
  return round_up(num_columns, kPanel) / kPanel * panel_size(dim);
}

// Whether this processor has instructions for it (AMX or AVX-512 BF16). Without them the product of
// the rounded values in float is faster than anything made of bfloat16.
bool has_bf16_product();

// Of how many rows the products of this processor make the best use: a multiple of it.
// REQUIRES: has_bf16_product()
std::int64_t bf16_rows_at_once();

void pack_bf16(const Bf16Vectors& columns, std::uint16_t* packed, int num_threads);

// Writes rows times packed columns to out (rows.size, num_columns), or adds it to what is there.
// REQUIRES: has_bf16_product()
void multiply_bf16(const Bf16Vectors& rows, const std::uint16_t* packed, std::int64_t num_columns,
                   float* out, bool add);

// The same, shared out over num_threads threads.
void multiply_bf16(const Bf16Vectors& rows, const std::uint16_t* packed, std::int64_t num_columns,
                   float* out, bool add, int num_threads);

}  // namespace hybrid_fast
