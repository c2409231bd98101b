// Products of bfloat16 on the processor's tiles (AMX).
#include <immintrin.h>

#include <cstdint>

#include "core/bf16_product_table.h"
#include "core/bf16_product_tiles.h"

namespace hybrid_fast {
namespace {

// What LDTILECFG reads: eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfiguration {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t num_rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfiguration) == 64);

// This thread's tiles. They are given back in the end: whoever leaves tiles behind makes every
// switch of threads save 8 KiB.
struct HardwareTiles {
  HardwareTiles() {
    static constexpr TileConfiguration configuration;
    _tile_loadconfig(&configuration);
  }
  ~HardwareTiles() { _tile_release(); }
  HardwareTiles(const HardwareTiles&) = delete;
  HardwareTiles& operator=(const HardwareTiles&) = delete;

  // The intrinsics are macros that want the numbers themselves.
  template <int t>
  void load(const void* from, std::int64_t stride) {
    asm volatile("" ::: "memory");  // GCC's intrinsics do not say that they read memory
    if constexpr (t == 0) _tile_loadd(0, from, stride);
    if constexpr (t == 1) _tile_loadd(1, from, stride);
    if constexpr (t == 2) _tile_loadd(2, from, stride);
    if constexpr (t == 3) _tile_loadd(3, from, stride);
    if constexpr (t == 4) _tile_loadd(4, from, stride);
    if constexpr (t == 5) _tile_loadd(5, from, stride);
    if constexpr (t == 6) _tile_loadd(6, from, stride);
    if constexpr (t == 7) _tile_loadd(7, from, stride);
  }
  template <int t>
  void store(void* to, std::int64_t stride) {
    if constexpr (t == 0) _tile_stored(0, to, stride);
    if constexpr (t == 1) _tile_stored(1, to, stride);
    if constexpr (t == 2) _tile_stored(2, to, stride);
    if constexpr (t == 3) _tile_stored(3, to, stride);
  }
  template <int t>
  void zero() {
    if constexpr (t == 0) _tile_zero(0);
    if constexpr (t == 1) _tile_zero(1);
    if constexpr (t == 2) _tile_zero(2);
    if constexpr (t == 3) _tile_zero(3);
  }
  template <int sums, int rows, int columns>
  void multiply() {
    static_assert(rows == kRowTiles + sums / 2 && columns == kColumnTiles + sums % 2);
    if constexpr (sums == 0) _tile_dpbf16ps(0, 4, 6);
    if constexpr (sums == 1) _tile_dpbf16ps(1, 4, 7);
    if constexpr (sums == 2) _tile_dpbf16ps(2, 5, 6);
    if constexpr (sums == 3) _tile_dpbf16ps(3, 5, 7);
  }
};

}  // namespace

const ProductKernels kProduct_amx = {&multiply_on_tiles<HardwareTiles>, &transpose_avx512,
                                     2 * kTileSide, true};

}  // namespace hybrid_fast
