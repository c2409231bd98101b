// Keyed pseudo-random functions: stateless, integer only, bitwise identical on every platform.
#pragma once

#include <bit>
#include <cstdint>

namespace hybrid_fast {

// Finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection of 64-bit words.
inline std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9u;
  x ^= x >> 27;
  x *= 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// A key for purpose or counter `label`, independent of those for other labels.
inline std::uint64_t derive(std::uint64_t key, std::uint64_t label) {
  return mix(key ^ mix(label + 0x9E3779B97F4A7C15u));
}

// A keyed bijection of [0, size): three multiply-xorshift rounds on the next power of two, walked
// until the value falls inside, which takes fewer than two walks on average. Each round takes as
// many bits of the key as the values have, so small sizes get more rounds.
class Permutation {
 public:
  // REQUIRES: size >= 1
  Permutation(std::uint64_t size, std::uint64_t key)
      : size_(size),
        mask_(std::bit_ceil(size) - 1),
        shift_((std::bit_width(size - 1) + 1) / 2 + (size <= 2 ? 1 : 0)),
        key_(key) {}

  // REQUIRES: i < size
  std::uint64_t operator()(std::uint64_t i) const {
    do {
      i = scramble(i);
    } while (i >= size_);
    return i;
  }

 private:
  std::uint64_t scramble(std::uint64_t x) const {
    x = ((x + key_) * 0xD6E8FEB86659FD93u) & mask_;
    x ^= x >> shift_;
    x = ((x + std::rotl(key_, 21)) * 0xA0761D6478BD642Fu) & mask_;
    x ^= x >> shift_;
    x = ((x + std::rotl(key_, 42)) * 0xE7037ED1A0B428DBu) & mask_;
    x ^= x >> shift_;
    if (mask_ < kSmall) {
      for (int turn = 5; turn <= 35; turn += 5) {
        x = ((x + std::rotl(key_, turn)) * 0xD6E8FEB86659FD93u) & mask_;
        x ^= x >> shift_;
      }
    }
    return x;
  }

  static constexpr std::uint64_t kSmall = 256;

  std::uint64_t size_;
  std::uint64_t mask_;
  int shift_;
  std::uint64_t key_;
};

}  // namespace hybrid_fast
