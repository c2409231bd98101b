// Products of bfloat16 matrices with a float result, which torch's products on the CPU do not give:
// A B with exact products of the rounded inputs, summed in float.
//
// B is packed once: panels of kPanel columns; in a panel, for each pair of coordinates, the pairs
// of all its columns side by side. What a panel lacks is 0.
#pragma once

#include <cstdint>

namespace hybrid_fast {

constexpr std::int64_t kPanel = 64;

// Vectors of bfloat16, anywhere in memory: coordinate d of vector v is data[v * stride + d * step].
struct Bf16Vectors {
  const std::uint16_t* data;
  std::int64_t size;  // how many
  std::int64_t dim;
  std::int64_t stride;
  std::int64_t step;  // 1, or `stride` is
};

inline std::int64_t num_pairs(std::int64_t dim) { return (dim + 1) / 2; }
inline std::int64_t packed_size(std::int64_t num_columns, std::int64_t dim) {
  return (num_columns + kPanel - 1) / kPanel * kPanel * 2 * num_pairs(dim);
}

// Whether this processor has an instruction for it (AVX-512 BF16). Without one the product of the
// rounded values in float is faster than anything made of bfloat16.
bool has_bf16_product();

void pack_bf16(const Bf16Vectors& columns, std::uint16_t* packed, int num_threads);

// Writes rows times packed columns to out (rows.size, num_columns), or adds it to what is there.
// REQUIRES: has_bf16_product()
void multiply_bf16(const Bf16Vectors& rows, const std::uint16_t* packed, std::int64_t num_columns,
                   float* out, bool add);

// The same, shared out over num_threads threads.
void multiply_bf16(const Bf16Vectors& rows, const std::uint16_t* packed, std::int64_t num_columns,
                   float* out, bool add, int num_threads);

}  // namespace hybrid_fast
