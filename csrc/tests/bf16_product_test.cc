// Products of bfloat16 and the losses of such products, against plain loops; where the processor
// has instructions for them.
#include "core/bf16_product.h"

#include <array>
#include <bit>
#include <vector>

#include "check.h"
#include "contrast_problem.h"
#include "core/contrast_rows.h"
#include "instructions.h"

namespace hybrid_fast {
namespace {

std::uint16_t to_bf16(double value) {
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(static_cast<float>(value)) >> 16);
}

double from_bf16(std::uint16_t half) { return std::bit_cast<float>(std::uint32_t{half} << 16); }

// num_vectors of `dim` numbers, their coordinates side by side, or those of all vectors.
struct Vectors {
  std::vector<std::uint16_t> data;
  std::int64_t size, dim;
  bool by_coordinate;

  Vectors(std::int64_t size, std::int64_t dim, bool by_coordinate)
      : data(size * dim), size(size), dim(dim), by_coordinate(by_coordinate) {
    for (auto& half : data) half = to_bf16(uniform(-1, 1));
  }
  Bf16Vectors view() const {
    return {data.data(), size, dim, by_coordinate ? 1 : dim, by_coordinate ? size : 1};
  }
  double at(std::int64_t v, std::int64_t d) const {
    return from_bf16(data[by_coordinate ? d * size + v : v * dim + d]);
  }
};

void test_products_of_bf16() {
  for (const std::int64_t dim : {1, 2, 3, 31, 64, 65, 513, 1030}) {
    for (const std::int64_t num_columns : {1, 15, 63, 64, 65, 130}) {
      for (const std::int64_t num_rows : {1, 5, 6, 7, 65}) {
        const bool transposed = (dim + num_columns + num_rows) % 2 == 0;
        const Vectors rows(num_rows, dim, transposed), columns(num_columns, dim, !transposed);
        std::vector<std::uint16_t> packed(packed_size(num_columns, dim), 0x7FC0);
        pack_bf16(columns.view(), packed.data(), 2);
        std::vector<float> out(num_rows * num_columns, 0.5f);
        const bool add = num_rows % 2 == 1;
        multiply_bf16(rows.view(), packed.data(), num_columns, out.data(), add, 2);
        for (std::int64_t i = 0; i < num_rows; ++i) {
          for (std::int64_t j = 0; j < num_columns; ++j) {
            double dot = add ? 0.5 : 0;
            for (std::int64_t d = 0; d < dim; ++d) dot += rows.at(i, d) * columns.at(j, d);
            CHECK(near(out[i * num_columns + j], dot, double(dim), 1e-6));
          }
        }
      }
    }
  }
}

void test_losses_of_bf16() {
  for (const auto& [num_rows, num_columns, dim] : std::vector<std::array<std::int64_t, 3>>{
           {1, 1, 1}, {7, 33, 5}, {49, 65, 12}, {100, 300, 33}}) {
    auto p = draw<float>(num_rows, num_columns, 6);
    const Vectors queries(num_rows, dim, false), passages(num_columns, dim, false);
    std::vector<std::uint16_t> packed(packed_size(num_columns, dim));
    pack_bf16(passages.view(), packed.data(), 1);
    p.logit_scale = 2;
    multiply_bf16(queries.view(), packed.data(), num_columns, p.scores.data(), false, 1);
    std::vector<float> coefficients(num_rows, 0.5f), of_positives(num_rows), losses(num_rows),
        dots(num_rows), none;
    std::vector<std::uint16_t> gradient(num_rows * num_columns);
    contrast_bf16_rows(
        p.chunk(none),
        {coefficients.data(), nullptr, nullptr, gradient.data(), of_positives.data(), losses.data(),
         dots.data()},
        queries.data.data(), packed.data(), dim, 3);
    Expected expected = define(p, coefficients, {}, {});
    for (std::int64_t i = 0; i < num_rows; ++i) {
      CHECK(near(losses[i], expected.losses[i], 1e-3, 1e-4));
      const std::int64_t k = i * num_columns + p.positives[i];
      CHECK(near(of_positives[i], expected.gradient[k], 1e-3, 1e-4));
      expected.gradient[k] = 0;  // it stands apart
    }
    for (std::size_t k = 0; k < gradient.size(); ++k) {
      CHECK(near(from_bf16(gradient[k]), expected.gradient[k], 1e-3, 1.0 / 200));
    }
  }
}

}  // namespace
}  // namespace hybrid_fast

int main() {
  using namespace hybrid_fast;
  if (!has_bf16_product()) return kSkipped;
  test_products_of_bf16();
  test_losses_of_bf16();
}
