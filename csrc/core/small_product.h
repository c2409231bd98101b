// Products of small float matrices that lie in the caches, once for each instruction set; see
// vectors.h.
#pragma once

#include <cstdint>

#include "core/vectors.h"

namespace hybrid_fast::HYBRID_FAST_ISA {

// Rows of a left factor: entry k of row r is data[r * row + k * step].
struct LeftFactor {
  const float* data;
  std::int64_t row, step;
};

// Rows of a matrix, `stride` apart.
struct Rows {
  float* data;
  std::int64_t stride;
};

// Vectors of sums that registers hold beside what they are made of.
constexpr int kWideVectors = HYBRID_FAST_VECTOR_BYTES == 64 ? 4 : 2;
constexpr int kWideRows = 6;
constexpr int kNarrowRows = HYBRID_FAST_VECTOR_BYTES == 64 ? 12 : 6;
constexpr int kRowMultiple = 12;  // of all tiles' rows

// What a product is added to: nothing, what is there, or a number of each column.
enum class Start { kZeros, kSums, kBias };

template <int kRows, int kVectors, Start kStart>
inline void multiply_tile(LeftFactor a, const float* b, std::int64_t b_stride, float* out,
                          std::int64_t out_stride, std::int64_t depth,
                          const float* bias = nullptr) {
  Floats sums[kRows][kVectors];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = kStart == Start::kSums   ? load<Floats>(out + r * out_stride + v * kLanes)
                   : kStart == Start::kBias ? load<Floats>(bias + v * kLanes)
                                            : Floats{};
    }
  }
  for (std::int64_t k = 0; k < depth; ++k) {
    Floats columns[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) columns[v] = load<Floats>(b + k * b_stride + v * kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const Floats x = Floats{} + a.data[r * a.row + k * a.step];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] += x * columns[v];
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(out + r * out_stride + v * kLanes, sums[r][v]);
  }
}

template <int kRows, int kVectors, bool kAdd>
void multiply_column(LeftFactor a, Rows b, Rows out, std::int64_t num_rows, std::int64_t depth) {
  for (std::int64_t r = 0; r < num_rows; r += kRows) {
    multiply_tile<kRows, kVectors, kAdd ? Start::kSums : Start::kZeros>(
        {a.data + r * a.row, a.row, a.step}, b.data, b.stride, out.data + r * out.stride,
        out.stride, depth);
  }
}

// out = a b, or out += a b if kAdd, for num_rows rows of `a`, a multiple of kRowMultiple, and
// num_columns columns of `b`, a multiple of kLanes.
template <bool kAdd>
void multiply(LeftFactor a, Rows b, Rows out, std::int64_t num_rows, std::int64_t num_columns,
              std::int64_t depth) {
  std::int64_t j = 0;
  for (; j + kWideVectors * kLanes <= num_columns; j += kWideVectors * kLanes) {
    multiply_column<kWideRows, kWideVectors, kAdd>(a, {b.data + j, b.stride},
                                                   {out.data + j, out.stride}, num_rows, depth);
  }
  for (; j + 2 * kLanes <= num_columns; j += 2 * kLanes) {
    multiply_column<kNarrowRows, 2, kAdd>(a, {b.data + j, b.stride}, {out.data + j, out.stride},
                                          num_rows, depth);
  }
  for (; j < num_columns; j += kLanes) {
    multiply_column<kRowMultiple, 1, kAdd>(a, {b.data + j, b.stride}, {out.data + j, out.stride},
                                           num_rows, depth);
  }
}

}  // namespace hybrid_fast::HYBRID_FAST_ISA
