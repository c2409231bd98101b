// Threefry-4x32 as its paper defines it, a number at a time, and what masks are made of it.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace hybrid_fast {

using Words4 = std::array<std::uint32_t, 4>;

inline Words4 threefry(Words4 x, Words4 key) {
  constexpr int kTurns[8][2] = {{10, 26}, {11, 21}, {13, 27}, {23, 5},
                                {6, 20},  {17, 11}, {25, 10}, {18, 20}};
  const std::uint32_t keys[5] = {key[0], key[1], key[2], key[3],
                                 0x1BD11BDA ^ key[0] ^ key[1] ^ key[2] ^ key[3]};
  for (int i = 0; i < 4; ++i) x[i] += keys[i];
  for (unsigned round = 0; round < 20; ++round) {
    const auto mix = [&](int a, int b, int turn) {
      x[a] += x[b];
      x[b] = std::rotl(x[b], turn) ^ x[a];
    };
    const int* turns = kTurns[round % 8];
    mix(0, round % 2 == 0 ? 1 : 3, turns[0]);
    mix(2, round % 2 == 0 ? 3 : 1, turns[1]);
    if (round % 4 != 3) continue;
    const unsigned turn = round / 4 + 1;
    for (unsigned i = 0; i < 4; ++i) x[i] += keys[(turn + i) % 5];
    x[3] += turn;
  }
  return x;
}

// Whether an entry is kept: those of a block of 128 take, 16 at a time, the low and then the high
// halves of words 0 to 3 of 16 counters.
inline bool is_kept(std::uint64_t seed, double rate, std::uint32_t kind, std::uint32_t matrix,
                    std::uint32_t row, std::uint32_t block, std::uint32_t entry) {
  const Words4 random =
      threefry({block * 16 + entry % 16, row, matrix, kind},
               {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32), 0, 0});
  const std::uint32_t word = random[entry / 16 % 4];
  return (entry < 64 ? word & 0xFFFF : word >> 16) >= std::lround(rate * 65536);
}

inline std::uint16_t rounded_to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}
inline float widened_bf16(std::uint16_t x) { return std::bit_cast<float>(std::uint32_t{x} << 16); }

}  // namespace hybrid_fast
