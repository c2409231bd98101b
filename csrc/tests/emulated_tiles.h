// Arrays in place of a processor's tiles, for bf16_product_tiles.h: the same shapes, strides and
// sums, on any processor.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "check.h"
#include "core/bf16_product_tiles.h"

namespace hybrid_fast {

class EmulatedTiles {
 public:
  EmulatedTiles() { ++in_use; }
  ~EmulatedTiles() { --in_use; }

  static inline thread_local int in_use = 0;  // objects alive on this thread

  template <int t>
  void load(const void* from, std::int64_t stride) {
    for (std::int64_t r = 0; r < kTileSide; ++r) {
      std::memcpy(tile<t>()[r].data(), static_cast<const char*>(from) + r * stride, kRowBytes);
    }
  }
  template <int t>
  void store(void* to, std::int64_t stride) {
    for (std::int64_t r = 0; r < kTileSide; ++r) {
      std::memcpy(static_cast<char*>(to) + r * stride, tile<t>()[r].data(), kRowBytes);
    }
  }
  template <int t>
  void zero() {
    tile<t>() = {};
  }
  template <int sums, int rows, int columns>
  void multiply() {
    static_assert(sums != rows && sums != columns && rows != columns);
    for (int m = 0; m < kTileSide; ++m) {
      for (int k = 0; k < kTileSide; ++k) {
        for (int n = 0; n < kTileSide; ++n) {
          const std::uint32_t row = tile<rows>()[m][k], column = tile<columns>()[k][n];
          float sum = std::bit_cast<float>(tile<sums>()[m][n]);
          sum += value(row << 16) * value(column << 16);
          sum += value(row & kUpper) * value(column & kUpper);
          tile<sums>()[m][n] = std::bit_cast<std::uint32_t>(sum);
        }
      }
    }
  }

 private:
  static constexpr std::uint32_t kUpper = 0xFFFF0000;
  static constexpr std::size_t kRowBytes = kTileSide * sizeof(std::uint32_t);
  using Tile = std::array<std::array<std::uint32_t, kTileSide>, kTileSide>;

  static float value(std::uint32_t bits) { return std::bit_cast<float>(bits); }
  template <int t>
  Tile& tile() {
    static_assert(t >= 0 && t < 8);
    CHECK(in_use == 1);
    return tiles_[t];
  }

  std::array<Tile, 8> tiles_{};
};

// The kernels of bf16_product_amx.cc on arrays.
inline constexpr ProductKernels kProduct_emulated = {&multiply_on_tiles<EmulatedTiles>,
                                                     &transpose_plainly, 2 * kTileSide, true};

}  // namespace hybrid_fast
