#include <cstdint>

#include "core/bf16_product_table.h"
#include "core/transpose_avx512.h"

namespace hybrid_fast {

void transpose_avx512(const std::uint16_t* vectors, std::int64_t stride, std::uint32_t* out,
                      std::int64_t out_stride) {
  __m512i block[kSide];
#pragma GCC unroll 16
  for (int i = 0; i < kSide; ++i) block[i] = _mm512_loadu_si512(vectors + i * stride);
  transpose_block(block);
#pragma GCC unroll 16
  for (int i = 0; i < kSide; ++i) _mm512_storeu_si512(out + i * out_stride, block[i]);
}

}  // namespace hybrid_fast
