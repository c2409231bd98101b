// The product of bf16_product.h on tiles of 16 rows of 64 bytes, as a template over what stands for
// the tiles: the processor's own or, in tests, arrays. Written after Intel's manual and tested on
// arrays; its speed was not measured.
//
// A block of 2 x 2 tiles of sums takes, for every 16 pairs of coordinates, two tiles of rows and
// two of columns: a tile of columns is 16 pairs of 16 columns of a panel, as they lie there.
//
// Tiles has, for the number `t` of a tile: load<t>(from, stride), store<t>(to, stride), strides in
// bytes; zero<t>(); multiply<sums, rows, columns>(), which adds the products of 16 rows of 16 pairs
// and 16 pairs of 16 columns to 16 rows of 16 sums. It lives while tiles are in use.
#pragma once

#include <cstdint>

#include "core/bf16_product_table.h"

namespace hybrid_fast {

constexpr int kTileSide = 16;
// Numbers of tiles: sums of tile row i and tile column j in 2 i + j.
constexpr int kRowTiles = 4, kColumnTiles = 6;

// Up to 2 x 2 tiles of sums, which all exist in `out`.
template <int kHigh, int kWide, typename Tiles>
void multiply_tiles(Tiles& tiles, PairedRows rows, PairedColumns columns, Sums out) {
  constexpr std::int64_t kWord = sizeof(std::uint32_t);
  const auto each_sum = [&](auto&& use) {
    const auto at = [&](int i, int j) { return out.data + kTileSide * (i * out.stride + j); };
    use.template operator()<0>(at(0, 0));
    if constexpr (kWide == 2) use.template operator()<1>(at(0, 1));
    if constexpr (kHigh == 2) use.template operator()<2>(at(1, 0));
    if constexpr (kHigh == 2 && kWide == 2) use.template operator()<3>(at(1, 1));
  };
  each_sum([&]<int t>(const float* from) {
    if (out.add) {
      tiles.template load<t>(from, out.stride * kWord);
    } else {
      tiles.template zero<t>();
    }
  });
  for (std::int64_t k = 0; k < columns.pairs; k += kTileSide) {
    const std::uint32_t* row = rows.words + k;
    const std::uint32_t* column = columns.words + k * kPanel;
    tiles.template load<kColumnTiles>(column, kPanel * kWord);
    tiles.template load<kRowTiles>(row, rows.stride * kWord);
    tiles.template multiply<0, kRowTiles, kColumnTiles>();
    if constexpr (kWide == 2) {
      tiles.template load<kColumnTiles + 1>(column + kTileSide, kPanel * kWord);
      tiles.template multiply<1, kRowTiles, kColumnTiles + 1>();
    }
    if constexpr (kHigh == 2) {
      tiles.template load<kRowTiles + 1>(row + kTileSide * rows.stride, rows.stride * kWord);
      tiles.template multiply<2, kRowTiles + 1, kColumnTiles>();
    }
    if constexpr (kHigh == 2 && kWide == 2) {
      tiles.template multiply<3, kRowTiles + 1, kColumnTiles + 1>();
    }
  }
  each_sum([&]<int t>(float* to) { tiles.template store<t>(to, out.stride * kWord); });
}

// Columns of one panel, at most two tiles of them, for at most two tiles of rows: as above, by way
// of whole tiles where `out` ends within one.
template <typename Tiles>
void multiply_block(Tiles& tiles, PairedRows rows, PairedColumns columns, Sums out) {
  constexpr auto kernel = [](bool high, bool wide) {
    return high ? (wide ? &multiply_tiles<2, 2, Tiles> : &multiply_tiles<2, 1, Tiles>)
                : (wide ? &multiply_tiles<1, 2, Tiles> : &multiply_tiles<1, 1, Tiles>);
  };
  const auto multiply = kernel(rows.size > kTileSide, columns.size > kTileSide);
  if (rows.size % kTileSide == 0 && columns.size % kTileSide == 0) {
    multiply(tiles, rows, columns, out);
    return;
  }
  constexpr std::int64_t kWidth = 2 * kTileSide;
  alignas(64) float whole[kWidth * kWidth] = {};
  const auto copy = [&](const float* from, std::int64_t from_stride, float* to,
                        std::int64_t to_stride) {
    for (std::int64_t r = 0; r < rows.size; ++r) {
      __builtin_memcpy(to + r * to_stride, from + r * from_stride, columns.size * sizeof(float));
    }
  };
  if (out.add) copy(out.data, out.stride, whole, kWidth);
  multiply(tiles, rows, columns, {whole, kWidth, out.add});
  copy(whole, kWidth, out.data, out.stride);
}

// ProductKernels::multiply. Rows and panels lie as `whole_tiles` says.
template <typename Tiles>
void multiply_on_tiles(PairedRows rows, PairedColumns columns, Sums out) {
  constexpr std::int64_t kStep = 2 * kTileSide;
  Tiles tiles;
  for (std::int64_t c = 0; c < columns.size; c += kStep) {
    const PairedColumns some{columns.words + c / kPanel * columns.stride + c % kPanel,
                             columns.size - c < kStep ? columns.size - c : kStep, columns.stride,
                             columns.pairs};
    for (std::int64_t r = 0; r < rows.size; r += kStep) {
      multiply_block(tiles,
                     {rows.words + r * rows.stride, rows.size - r < kStep ? rows.size - r : kStep,
                      rows.stride, rows.step},
                     some, {out.data + r * out.stride + c, out.stride, out.add});
    }
  }
}

}  // namespace hybrid_fast
