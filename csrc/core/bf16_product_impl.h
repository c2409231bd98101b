// The product of one panel on vectors of any width, once for each instruction set; see
// contrast_rows_impl.h.
#include <cstdint>

#include "core/bf16_product.h"

namespace hybrid_fast::HYBRID_FAST_ISA {

typedef float ProductFloats __attribute__((vector_size(HYBRID_FAST_VECTOR_BYTES)));
typedef std::uint32_t ProductBits __attribute__((vector_size(HYBRID_FAST_VECTOR_BYTES)));

// kRows rows, as 32-bit words of two coordinates, times a panel.
template <int kRows>
void multiply_rows(const std::uint32_t* rows, std::int64_t stride, const std::uint32_t* panel,
                   std::int64_t pairs, float* out, std::int64_t out_stride, std::int64_t count) {
  constexpr int kLanes = HYBRID_FAST_VECTOR_BYTES / 4;
  float result[kRows][kPanel];
  for (int first = 0; first < kPanel; first += kLanes) {
    ProductFloats sums[kRows] = {};
    for (std::int64_t k = 0; k < pairs; ++k) {
      ProductBits bits;
      __builtin_memcpy(&bits, panel + k * kPanel + first, sizeof(bits));
      const ProductBits low_bits = bits << 16, high_bits = bits & 0xFFFF0000u;
      ProductFloats low, high;
      __builtin_memcpy(&low, &low_bits, sizeof(low));
      __builtin_memcpy(&high, &high_bits, sizeof(high));
      for (int r = 0; r < kRows; ++r) {
        const std::uint32_t word = rows[r * stride + k];
        const std::uint32_t low_word = word << 16, high_word = word & 0xFFFF0000u;
        float a, b;
        __builtin_memcpy(&a, &low_word, sizeof(a));
        __builtin_memcpy(&b, &high_word, sizeof(b));
        sums[r] += a * low;
        sums[r] += b * high;
      }
    }
    for (int r = 0; r < kRows; ++r) __builtin_memcpy(&result[r][first], &sums[r], sizeof(sums[r]));
  }
  for (int r = 0; r < kRows; ++r) {
    for (std::int64_t j = 0; j < count; ++j) out[r * out_stride + j] = result[r][j];
  }
}

}  // namespace hybrid_fast::HYBRID_FAST_ISA
