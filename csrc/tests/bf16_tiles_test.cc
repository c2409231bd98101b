// Packed columns, and products of bfloat16 on emulated tiles, on any processor.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "bf16_problem.h"
#include "check.h"
#include "core/bf16_product_table.h"
#include "emulated_tiles.h"
#include "instructions.h"

namespace hybrid_fast {
namespace {

void test_packed_columns() {
  for (const std::int64_t dim : {1, 2, 31, 32, 33, 64, 95}) {
    for (const std::int64_t size : {0, 1, 15, 16, 63, 64, 65, 130}) {
      for (const bool by_coordinate : {false, true}) {
        const Vectors columns(size, dim, by_coordinate);
        const auto found = packed(columns, 2);
        const std::int64_t rows = round_up(dim, 2 * kPairsOfTile);
        CHECK(std::ssize(found) == round_up(size, kPanel) * rows);
        for (std::int64_t c = 0; c < round_up(size, kPanel); ++c) {
          for (std::int64_t d = 0; d < rows; ++d) {
            const std::int64_t place =
                c / kPanel * kPanel * rows + d / 2 * 2 * kPanel + c % kPanel * 2 + d % 2;
            const double expected = c < size && d < dim ? columns.at(c, d) : 0;
            CHECK(from_bf16(found[place]) == expected);
          }
        }
      }
    }
  }
}

// Every tail of rows, columns and coordinates by tiles, bit for bit, at both ends of a larger array
// whose other entries stay.
void test_products_on_emulated_tiles() {
  constexpr std::int64_t kAround = 40;
  for (const std::int64_t dim : {1, 2, 31, 32, 33, 64, 511, 513, 1030}) {
    for (const std::int64_t num_columns : {1, 15, 16, 17, 32, 33, 48, 63, 64, 65, 130}) {
      for (const std::int64_t num_rows : {1, 15, 16, 17, 31, 32, 33, 48, 65}) {
        if (dim > 64 && num_columns > 33 && num_rows > 17) continue;
        for (const bool transposed : {false, true}) {
          const Vectors rows = Vectors(num_rows, dim, transposed).whole();
          const Vectors columns = Vectors(num_columns, dim, !transposed).whole();
          const bool add = (num_rows + num_columns + dim + transposed) % 2 == 1;
          const float before = add ? 3 : std::numeric_limits<float>::quiet_NaN();
          std::vector<float> out(num_rows * num_columns + 2 * kAround, before);
          std::fill_n(out.begin(), kAround, 7.0f);
          std::fill_n(out.end() - kAround, kAround, 7.0f);
          float* product = out.data() + kAround;
          multiply_with(kProduct_emulated, rows.view(), packed(columns, 1).data(), num_columns,
                        product, add);
          CHECK(EmulatedTiles::in_use == 0);
          for (std::int64_t i = 0; i < num_rows; ++i) {
            for (std::int64_t j = 0; j < num_columns; ++j) {
              CHECK(product[i * num_columns + j] == define(rows, columns, i, j) + (add ? 3 : 0));
            }
          }
          for (std::int64_t k = 0; k < kAround; ++k) CHECK(out[k] == 7 && out.rbegin()[k] == 7);
        }
      }
    }
  }
}

// What is no number stays with its row and its column.
void test_no_number_spreads_on_emulated_tiles() {
  constexpr std::int64_t kRows = 18, kColumns = 70, kDim = 35;
  for (const bool transposed : {false, true}) {
    Vectors rows(kRows, kDim, transposed), columns(kColumns, kDim, !transposed);
    const std::int64_t last = kRows * kDim - 1;
    rows.data[last] = kNotANumber, columns.data[0] = kNotANumber;
    std::vector<float> out(kRows * kColumns);
    multiply_with(kProduct_emulated, rows.view(), packed(columns, 1).data(), kColumns, out.data(),
                  false);
    for (std::int64_t i = 0; i < kRows; ++i) {
      for (std::int64_t j = 0; j < kColumns; ++j) {
        CHECK(std::isnan(out[i * kColumns + j]) == (i == kRows - 1 || j == 0));
      }
    }
  }
}

}  // namespace
}  // namespace hybrid_fast

int main() {
  using namespace hybrid_fast;
  if (asks_for_absent_instructions()) return kSkipped;
  test_packed_columns();
  test_products_on_emulated_tiles();
  test_no_number_spreads_on_emulated_tiles();
}
