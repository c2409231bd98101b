// Random numbers of dropout masks, once for each instruction set; see vectors.h.
//
// Threefry-4x32 with 20 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"):
// random numbers as a function of a key and a counter, by additions, rotations and exclusive ors
// alone. A block of 128 entries takes the 64 words of 16 counters, two entries a word.
#pragma once

#include <cstdint>

#include "core/dropout_table.h"
#include "core/vectors.h"

namespace hybrid_fast::HYBRID_FAST_ISA {

inline Words rotated(Words x, int by) { return (x << by) | (x >> (32 - by)); }

// x[0..3] becomes the random words of the counters x[0..3].
inline void threefry(std::uint64_t key, Words x[4]) {
  constexpr int kTurns[8][2] = {{10, 26}, {11, 21}, {13, 27}, {23, 5},
                                {6, 20},  {17, 11}, {25, 10}, {18, 20}};
  const auto low = static_cast<std::uint32_t>(key), high = static_cast<std::uint32_t>(key >> 32);
  const std::uint32_t keys[5] = {low, high, 0, 0, 0x1BD11BDAu ^ low ^ high};
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) x[i] += keys[i];
#pragma GCC unroll 20
  for (int round = 0; round < 20; ++round) {
    const int first = round % 2 == 0 ? 1 : 3;
    x[0] += x[first];
    x[first] = rotated(x[first], kTurns[round % 8][0]) ^ x[0];
    x[2] += x[4 - first];
    x[4 - first] = rotated(x[4 - first], kTurns[round % 8][1]) ^ x[2];
    if (round % 4 != 3) continue;
    const int turn = round / 4 + 1;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) x[i] += keys[(turn + i) % 5];
    x[3] += static_cast<std::uint32_t>(turn);
  }
}

// Which of the 128 entries of a block are kept.
class KeptBlock {
 public:
  // Block number `block` of `row` of `matrix`.
  KeptBlock(const DropoutMask& mask, std::uint32_t block, std::uint32_t row, std::uint32_t matrix)
      : least_(static_cast<std::int32_t>(mask.threshold)) {
    if (least_ == 0) {  // all are kept
      for (int i = 0; i < kWords; i += kLanes) store(words_ + i, Words{});
      return;
    }
    Words lanes;
    for (int i = 0; i < kLanes; ++i) lanes[i] = static_cast<std::uint32_t>(i);
#pragma GCC unroll 4
    for (int part = 0; part < kCounters / kLanes; ++part) {
      Words x[4] = {lanes + (block * kCounters + static_cast<std::uint32_t>(part * kLanes)),
                    Words{} + row, Words{} + matrix, Words{} + mask.kind};
      threefry(mask.seed, x);
      for (int i = 0; i < 4; ++i) store(words_ + i * kCounters + part * kLanes, x[i]);
    }
  }

  // x where it is kept, else 0; x are the entries from `first` on, a multiple of kLanes.
  Floats kept(int first, Floats x) const {
    const Words words = load<Words>(words_ + first % kWords);
    const Words numbers = first < kWords ? words & 0xFFFF : words >> 16;
    return __builtin_convertvector(numbers, Integers) >= least_ ? x : Floats{};
  }

 private:
  static constexpr int kCounters = 16, kWords = 4 * kCounters;
  static_assert(kDropoutBlock == 2 * kWords);
  std::uint32_t words_[kWords];
  std::int32_t least_;
};

}  // namespace hybrid_fast::HYBRID_FAST_ISA
