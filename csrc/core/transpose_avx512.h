// Blocks of 16 x 16 words in registers; for files that are compiled for AVX-512.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace hybrid_fast {

// Exchanges the words of `low` that have the bit kDistance in their number for those of `high` that
// lack it.
template <int kDistance>
static inline void exchange(__m512i& low, __m512i& high) {
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
static inline void exchange_all(__m512i (&vectors)[16]) {
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    if ((i & kDistance) == 0) exchange<kDistance>(vectors[i], vectors[i + kDistance]);
  }
}

// Transposes a block: four times, words a distance of 8, 4, 2 and 1 apart change places across the
// diagonal. Each file has its own: files are compiled for different instruction sets.
static inline void transpose_block(__m512i (&block)[16]) {
  exchange_all<8>(block);
  exchange_all<4>(block);
  exchange_all<2>(block);
  exchange_all<1>(block);
}

}  // namespace hybrid_fast
