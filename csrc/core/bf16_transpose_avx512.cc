// Transposes blocks of 16 x 16 words: four times, words a distance of 8, 4, 2 and 1 apart change
// places across the diagonal.
#include <immintrin.h>

#include <cstdint>

#include "core/bf16_product_table.h"

namespace hybrid_fast {
namespace {

// Exchanges the words of `low` that have the bit kDistance in their number for those of `high` that
// lack it.
template <int kDistance>
void exchange(__m512i& low, __m512i& high) {
  alignas(64) static constexpr auto kPlaces = [] {
    struct Places {
      std::int32_t of_low[16], of_high[16];
    } places{};
    for (int i = 0; i < 16; ++i) {
      const bool upper = (i & kDistance) != 0;
      places.of_low[i] = upper ? 16 + i - kDistance : i;
      places.of_high[i] = upper ? 16 + i : i + kDistance;
    }
    return places;
  }();
  const __m512i first = _mm512_permutex2var_epi32(low, _mm512_load_si512(kPlaces.of_low), high);
  high = _mm512_permutex2var_epi32(low, _mm512_load_si512(kPlaces.of_high), high);
  low = first;
}

template <int kDistance>
void exchange_all(__m512i (&vectors)[kSide]) {
#pragma GCC unroll 16
  for (int i = 0; i < kSide; ++i) {
    if ((i & kDistance) == 0) exchange<kDistance>(vectors[i], vectors[i + kDistance]);
  }
}

}  // namespace

void transpose_avx512(const std::uint16_t* vectors, std::int64_t stride, std::uint32_t* out,
                      std::int64_t out_stride) {
  __m512i block[kSide];
#pragma GCC unroll 16
  for (int i = 0; i < kSide; ++i) block[i] = _mm512_loadu_si512(vectors + i * stride);
  exchange_all<8>(block);
  exchange_all<4>(block);
  exchange_all<2>(block);
  exchange_all<1>(block);
#pragma GCC unroll 16
  for (int i = 0; i < kSide; ++i) _mm512_storeu_si512(out + i * out_stride, block[i]);
}

}  // namespace hybrid_fast
