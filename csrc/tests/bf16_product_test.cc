// Products of bfloat16 and the losses of such products, against plain loops; where the processor
// has instructions for them.
#include "core/bf16_product.h"

#include <array>
#include <vector>

#include "bf16_problem.h"
#include "check.h"
#include "contrast_problem.h"
#include "core/contrast_rows.h"
#include "instructions.h"

namespace hybrid_fast {
namespace {

void test_products_of_the_processor() {
  CHECK(bf16_rows_at_once() >= 1);
  for (const std::int64_t dim : {1, 2, 3, 31, 64, 65, 513, 1030}) {
    for (const std::int64_t num_columns : {1, 15, 63, 64, 65, 130}) {
      for (const std::int64_t num_rows : {1, 5, 6, 7, 65}) {
        const bool transposed = (dim + num_columns + num_rows) % 2 == 0;
        const Vectors rows(num_rows, dim, transposed), columns(num_columns, dim, !transposed);
        std::vector<float> out(num_rows * num_columns, 0.5f);
        const bool add = num_rows % 2 == 1;
        multiply_bf16(rows.view(), packed(columns, 2).data(), num_columns, out.data(), add, 2);
        for (std::int64_t i = 0; i < num_rows; ++i) {
          for (std::int64_t j = 0; j < num_columns; ++j) {
            const double expected = define(rows, columns, i, j) + (add ? 0.5 : 0);
            CHECK(near(out[i * num_columns + j], expected, double(dim), 1e-6));
          }
        }
      }
    }
  }
}

void test_bits_do_not_depend_on_threads() {
  constexpr std::int64_t kRows = 200, kColumns = 130, kDim = 700;
  for (const bool transposed : {false, true}) {
    const Vectors rows(kRows, kDim, transposed), columns(kColumns, kDim, transposed);
    std::vector<float> expected(kRows * kColumns), out(kRows * kColumns);
    multiply_bf16(rows.view(), packed(columns, 1).data(), kColumns, expected.data(), false, 1);
    for (const int num_threads : {2, 3, 7}) {
      const auto columns_packed = packed(columns, num_threads);
      multiply_bf16(rows.view(), columns_packed.data(), kColumns, out.data(), false, num_threads);
      CHECK(out == expected);
    }
  }
}

void test_losses_of_bf16() {
  for (const auto& [num_rows, num_columns, dim] : std::vector<std::array<std::int64_t, 3>>{
           {1, 1, 1}, {7, 33, 5}, {49, 65, 12}, {100, 300, 33}}) {
    auto p = draw<float>(num_rows, num_columns, kAllRules);
    const Vectors queries(num_rows, dim, false), passages(num_columns, dim, false);
    const auto columns = packed(passages, 1);
    p.logit_scale = 2;
    multiply_bf16(queries.view(), columns.data(), num_columns, p.scores.data(), false, 1);
    std::vector<float> coefficients(num_rows, 0.5f), of_positives(num_rows), losses(num_rows),
        dots(num_rows), none;
    std::vector<std::uint16_t> gradient(num_rows * num_columns);
    contrast_bf16_rows(p.chunk(none),
                       {coefficients.data(), nullptr, nullptr, gradient.data(), of_positives.data(),
                        losses.data(), dots.data()},
                       queries.data.data(), columns.data(), dim, 3);
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

void test_no_coordinates() {
  const Vectors rows(3, 0, false), columns(5, 0, false);
  std::vector<float> out(15, 1);
  multiply_bf16(rows.view(), packed(columns, 1).data(), 5, out.data(), true, 1);
  CHECK(out == std::vector<float>(15, 1));
  multiply_bf16(rows.view(), packed(columns, 1).data(), 5, out.data(), false, 1);
  CHECK(out == std::vector<float>(15));
}

}  // namespace
}  // namespace hybrid_fast

int main() {
  using namespace hybrid_fast;
  if (asks_for_absent_instructions() || !has_bf16_product()) return kSkipped;
  test_products_of_the_processor();
  test_bits_do_not_depend_on_threads();
  test_losses_of_bf16();
  test_no_coordinates();
}
