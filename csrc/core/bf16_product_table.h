// The inner loops of bf16_product.h for each instruction set, and the choice among them.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/bf16_product.h"

namespace hybrid_fast {

// A word is a pair of coordinates of one vector, the first of them in its lower half.
//
// Rows in words: pair k of row r is words[r * stride + k * step].
struct PairedRows {
  const std::uint32_t* words;
  std::int64_t size;
  std::int64_t stride;
  std::int64_t step;
};

// Some pairs of packed columns: pair k of column c is words[c / kPanel * stride + k * kPanel + c %
// kPanel].
struct PairedColumns {
  const std::uint32_t* words;
  std::int64_t size;
  std::int64_t stride;
  std::int64_t pairs;
};

// Where a product goes: rows `stride` apart.
struct Sums {
  float* data;
  std::int64_t stride;
  bool add;  // to what is there
};

constexpr std::int64_t kSide = 16;  // vectors and pairs of a block that is transposed at once

struct ProductKernels {
  void (*multiply)(PairedRows rows, PairedColumns columns, Sums out);
  // Writes pair j of vector i to out[j * out_stride + i]: kSide vectors, `stride` halves apart, of
  // kSide pairs.
  void (*transpose)(const std::uint16_t* vectors, std::int64_t stride, std::uint32_t* out,
                    std::int64_t out_stride);
  std::int64_t rows_at_once;
  // Whether rows lie one after another (step 1), zeros after them up to a multiple of kSide rows,
  // and their pairs, as those of the panels, up to one of kSide; else as it costs least to copy.
  bool whole_tiles;
};

// `transpose` of any processor.
inline void transpose_plainly(const std::uint16_t* vectors, std::int64_t stride, std::uint32_t* out,
                              std::int64_t out_stride) {
  for (std::int64_t i = 0; i < kSide; ++i) {
    for (std::int64_t j = 0; j < kSide; ++j) {
      std::memcpy(out + j * out_stride + i, vectors + i * stride + 2 * j, sizeof(*out));
    }
  }
}

// As multiply_bf16, on the calling thread, by these kernels.
void multiply_with(const ProductKernels& kernels, const Bf16Vectors& rows,
                   const std::uint16_t* packed, std::int64_t num_columns, float* out, bool add);

#if defined(__x86_64__)
void transpose_avx512(const std::uint16_t* vectors, std::int64_t stride, std::uint32_t* out,
                      std::int64_t out_stride);
extern const ProductKernels kProduct_avx512bf16;
#if defined(HYBRID_FAST_AMX)
extern const ProductKernels kProduct_amx;
#endif
#endif
// Those of this processor; null: it has none. Throws as choose_instructions.
const ProductKernels* product_kernels();

}  // namespace hybrid_fast
