// Matrices of bfloat16, drawn at random, and their products, in double.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "contrast_problem.h"
#include "core/bf16_product.h"

namespace hybrid_fast {

constexpr std::uint16_t kNotANumber = 0x7FC0;

inline std::uint16_t to_bf16(double value) {
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(static_cast<float>(value)) >> 16);
}

inline double from_bf16(std::uint16_t half) {
  return std::bit_cast<float>(std::uint32_t{half} << 16);
}

// num_vectors of `dim` numbers, their coordinates side by side, or those of all vectors.
struct Vectors {
  std::vector<std::uint16_t> data;
  std::int64_t size, dim;
  bool by_coordinate;

  Vectors(std::int64_t size, std::int64_t dim, bool by_coordinate)
      : data(size * dim), size(size), dim(dim), by_coordinate(by_coordinate) {
    for (auto& half : data) half = to_bf16(uniform(-1, 1));
  }
  // Whole numbers from -8 to 8, of whose products every float sum here is exact.
  Vectors whole() && {
    for (auto& half : data) half = to_bf16(std::round(8 * from_bf16(half)));
    return std::move(*this);
  }
  Bf16Vectors view() const {
    return {data.data(), size, dim, by_coordinate ? 1 : dim, by_coordinate ? size : 1};
  }
  double at(std::int64_t v, std::int64_t d) const {
    return from_bf16(data[by_coordinate ? d * size + v : v * dim + d]);
  }
};

inline std::vector<std::uint16_t> packed(const Vectors& columns, int num_threads) {
  std::vector<std::uint16_t> result(packed_size(columns.size, columns.dim), kNotANumber);
  pack_bf16(columns.view(), result.data(), num_threads);
  return result;
}

inline double define(const Vectors& rows, const Vectors& columns, std::int64_t i, std::int64_t j) {
  double dot = 0;
  for (std::int64_t d = 0; d < rows.dim; ++d) dot += rows.at(i, d) * columns.at(j, d);
  return dot;
}

}  // namespace hybrid_fast
