// The kernels of the loss against their definition, on odd shapes, with the instructions that
// HYBRID_FAST_CPU names.
#include "core/contrast_rows.h"

#include <bit>
#include <stdexcept>
#include <utility>

#include "check.h"
#include "contrast_problem.h"
#include "instructions.h"

namespace hybrid_fast {
namespace {

template <typename T>
void check_columns(const Problem<T>& p, std::vector<T>& column_lse, double tolerance) {
  std::vector<T> work = p.scores, largest(p.num_columns, -kInfinity), sums(p.num_columns),
                 logits(p.num_rows);
  add_column_sums(p.chunk(work), largest.data(), sums.data(), logits.data(), 3);
  for (std::int64_t i = 0; i < p.num_rows; ++i) {
    CHECK(near(logits[i], p.logit(i, p.positives[i]), 1, tolerance));
  }
  for (std::int64_t j = 0; j < p.num_columns; ++j) {
    double sum = 0;
    for (std::int64_t i = 0; i < p.num_rows; ++i) {
      if (p.is_negative_query(i, j)) sum += std::exp(p.logit(i, j));
    }
    const double lse = largest[j] + std::log(sums[j]);
    if (sum == 0) {
      CHECK(sums[j] == 0);
      column_lse[j] = kInfinity;
    } else {
      CHECK(near(lse, std::log(sum), 1, tolerance));
      column_lse[j] = static_cast<T>(lse);
    }
  }
}

template <typename T>
void check_rows(const Problem<T>& p, bool symmetric, double tolerance) {
  std::vector<T> coefficients(p.num_rows), column_lse, column_coefficients;
  for (auto& a : coefficients) a = static_cast<T>(uniform(0, 2));
  if (symmetric) {
    column_lse.resize(p.num_columns), column_coefficients.resize(p.num_columns);
    check_columns(p, column_lse, tolerance);
    for (auto& b : column_coefficients) b = static_cast<T>(uniform(0, 1));
  }
  const Expected expected = define(p, coefficients, column_lse, column_coefficients);
  const T* lse = symmetric ? column_lse.data() : nullptr;
  const T* betas = symmetric ? column_coefficients.data() : nullptr;
  const T nan = std::numeric_limits<T>::quiet_NaN();  // of what was never written
  std::vector<T> work = p.scores, losses(p.num_rows, nan), dots(p.num_rows, nan);
  contrast_rows(p.chunk(work),
                {coefficients.data(), lse, betas, nullptr, nullptr, losses.data(), dots.data()}, 3);
  std::vector<std::uint16_t> rounded(std::is_same_v<T, float> ? work.size() : 0);
  if (!rounded.empty()) {
    std::vector<T> again = p.scores, other_losses(p.num_rows), of_positives(p.num_rows);
    contrast_rows(p.chunk(again),
                  {coefficients.data(), lse, betas, rounded.data(), of_positives.data(),
                   other_losses.data(), dots.data()},
                  2);
    CHECK(other_losses == losses);
    for (std::size_t k = 0; k < work.size(); ++k) {
      const std::int64_t i = k / p.num_columns, j = k % p.num_columns;
      const std::uint32_t bits = std::uint32_t{rounded[k]} << 16;
      if (j == p.positives[i]) {
        CHECK(of_positives[i] == work[k] && rounded[k] == 0);
      } else {
        CHECK(near(std::bit_cast<float>(bits), work[k], 0, 1.0 / 256));
      }
    }
  }
  for (std::int64_t i = 0; i < p.num_rows; ++i) {
    CHECK(near(losses[i], expected.losses[i], 1e-3, tolerance));
    CHECK(near(dots[i], expected.grad_dot_logits[i], 20, tolerance));
  }
  for (std::size_t k = 0; k < work.size(); ++k) {
    CHECK(near(work[k], expected.gradient[k], 1e-2, tolerance));
  }
  if (symmetric) return;
  work = p.scores;  // the losses alone
  std::vector<T> alone(p.num_rows, nan);
  contrast_rows(p.chunk(work), {nullptr, nullptr, nullptr, nullptr, nullptr, alone.data(), nullptr},
                2);
  for (std::int64_t i = 0; i < p.num_rows; ++i) {
    CHECK(near(alone[i], expected.losses[i], 1e-3, tolerance));
  }
}

template <typename T>
void test_against_the_definition(double tolerance) {
  for (const auto& [rows, columns] : std::vector<std::pair<int, int>>{{1, 1},
                                                                      {1, 2},
                                                                      {3, 7},
                                                                      {5, 8},
                                                                      {4, 15},
                                                                      {7, 16},
                                                                      {9, 17},
                                                                      {2, 31},
                                                                      {6, 33},
                                                                      {13, 65},
                                                                      {3, 255},
                                                                      {5, 257},
                                                                      {2, 2049}}) {
    for (const unsigned rules : kTriedRules) {
      const auto p = draw<T>(rows, columns, rules);
      check_rows(p, false, tolerance);
      check_rows(p, true, tolerance);
    }
  }
  check_rows(draw<T>(300, 701, kAllRules), true, tolerance);  // worth several threads
}

// Excluded from every row, so that one is left with its positive: no loss, no gradient.
template <typename T>
void test_rows_out_of_the_batch() {
  auto p = draw<T>(3, 37, kInBatch);
  p.in_batch = {0, 0, 0};
  for (auto& score : p.scores) score *= 40;
  std::vector<T> work = p.scores, losses(3, 1), dots(3, 1), largest(37, -kInfinity), sums(37),
                 logits(3);
  add_column_sums(p.chunk(work), largest.data(), sums.data(), logits.data(), 1);
  CHECK(sums == std::vector<T>(37) && largest == std::vector<T>(37, -kInfinity));
  const std::vector<T> coefficients(3, T(1)), column_lse(37, T(1)), betas(37, T(1));
  work = p.scores;
  contrast_rows(p.chunk(work),
                {coefficients.data(), column_lse.data(), betas.data(), nullptr, nullptr,
                 losses.data(), dots.data()},
                1);
  CHECK(losses == std::vector<T>(3) && dots == std::vector<T>(3));
  CHECK(work == std::vector<T>(3 * 37));
}

// Rows from a later one on have their own entries of every rule.
void test_later_rows() {
  const auto p = draw<float>(9, 70, kAllRules);
  std::vector<float> all = p.scores, later(p.scores.begin() + 3 * 70, p.scores.end());
  std::vector<float> losses(9), of_later(6);
  contrast_rows(p.chunk(all), {nullptr, nullptr, nullptr, nullptr, nullptr, losses.data(), nullptr},
                1);
  NegativeMask mask = p.negative_mask();
  mask.first_row = 3;
  const ContrastChunk<float> rest{later.data(), 6, 70, p.logit_scale, p.positives.data() + 3, mask};
  contrast_rows(rest, {nullptr, nullptr, nullptr, nullptr, nullptr, of_later.data(), nullptr}, 1);
  CHECK(std::vector<float>(losses.begin() + 3, losses.end()) == of_later);
}

template <typename T>
void test_not_a_number() {
  auto p = draw<T>(3, 37, 0);
  p.positives = {0, 1, 2};
  p.scores[37 + 36] = std::numeric_limits<T>::quiet_NaN();
  std::vector<T> work = p.scores, losses(3);
  contrast_rows(p.chunk(work),
                {nullptr, nullptr, nullptr, nullptr, nullptr, losses.data(), nullptr}, 1);
  CHECK(!std::isnan(losses[0]) && std::isnan(losses[1]) && !std::isnan(losses[2]));
}

template <typename T>
void test_bad_positives() {
  auto p = draw<T>(3, 7, 0);
  for (const std::int64_t bad : {std::int64_t{-1}, std::int64_t{7}, std::int64_t{1} << 40}) {
    p.positives[2] = bad;
    std::vector<T> work = p.scores, out(7), sums(7);
    CHECK_THROWS(
        contrast_rows(p.chunk(work),
                      {nullptr, nullptr, nullptr, nullptr, nullptr, out.data(), nullptr}, 1),
        std::invalid_argument);
    CHECK_THROWS(add_column_sums(p.chunk(work), out.data(), sums.data(), out.data(), 1),
                 std::invalid_argument);
    CHECK(work == p.scores);
  }
}

// Positives of which some repeat, in rows and in columns.
void test_positives() {
  for (const std::int64_t dim : {1, 63, 64, 65, 200}) {
    const std::int64_t count = 4000, num_others = 1500;
    Ints others(count);
    for (auto& other : others) other = random_bits() % num_others;
    std::vector<float> weights(count), sums(num_others * dim, 0.5f), rows(count * dim, 0.5f);
    for (auto& weight : weights) weight = static_cast<float>(uniform(-1, 1));
    std::vector<std::uint16_t> vectors(count * dim);
    for (auto& half : vectors) half = static_cast<std::uint16_t>(random_bits() % 0x4000);
    const auto value = [&](std::int64_t row, std::int64_t d) {
      return std::bit_cast<float>(std::uint32_t{vectors[row * dim + d]} << 16);
    };
    std::vector<float> expected_sums = sums, expected_rows = rows;
    for (std::int64_t i = 0; i < count; ++i) {
      for (std::int64_t d = 0; d < dim; ++d) {
        expected_sums[others[i] * dim + d] += weights[i] * value(i, d);
        expected_rows[i * dim + d] += weights[i] * value(others[i], d);
      }
    }
    add_positives(weights.data(), count, vectors.data(), nullptr, sums.data(), others.data(), dim,
                  3);
    add_positives(weights.data(), count, vectors.data(), others.data(), rows.data(), nullptr, dim,
                  2);
    CHECK(sums == expected_sums);
    CHECK(rows == expected_rows);
  }
  add_positives(nullptr, 0, nullptr, nullptr, nullptr, nullptr, 7, 2);
}

}  // namespace
}  // namespace hybrid_fast

int main() {
  using namespace hybrid_fast;
  if (asks_for_absent_instructions()) return kSkipped;
  test_against_the_definition<float>(2e-5);
  test_against_the_definition<double>(1e-11);
  test_rows_out_of_the_batch<float>();
  test_rows_out_of_the_batch<double>();
  test_later_rows();
  test_not_a_number<float>();
  test_not_a_number<double>();
  test_bad_positives<float>();
  test_bad_positives<double>();
  test_positives();
}
