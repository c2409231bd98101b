// Lazy updates against AdamW that updates every row at each step, one step after another.
#include "core/lazy_adam.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "check.h"

namespace hybrid_fast {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;

template <typename T>
struct Table {
  std::int64_t num_rows, dim;
  std::vector<T> weights, first_moments, second_moments;
  std::vector<std::int32_t> places, weight_steps, moment_steps;

  // The moments of the last row come first.
  Table(std::int64_t num_rows, std::int64_t dim)
      : num_rows(num_rows),
        dim(dim),
        weights(num_rows * dim, 1),
        first_moments(num_rows * dim),
        second_moments(num_rows * dim),
        places(num_rows),
        weight_steps(num_rows),
        moment_steps(num_rows) {
    std::iota(places.rbegin(), places.rend(), 0);
  }
  AdamTable<T> view() {
    return {weights.data(),
            first_moments.data(),
            second_moments.data(),
            places.data(),
            weight_steps.data(),
            moment_steps.data(),
            num_rows,
            num_rows,
            dim};
  }
};

// Factors of updates, and those from one on as a history.
struct Factors {
  std::vector<AdamUpdate> updates;

  void add(double rate, double decay) {
    const auto step = static_cast<double>(updates.size() + 1);
    updates.push_back({1 - rate * decay, rate / (1 - std::pow(kBeta1, step)),
                       1 / std::sqrt(1 - std::pow(kBeta2, step))});
  }
  AdamHistory from(std::size_t begin) const {
    return {static_cast<std::int64_t>(begin), std::span(updates).subspan(begin), kBeta1, kBeta2,
            kEpsilon};
  }
};

// A step of AdamW of all rows; `gradient` has zeros for those without one.
void update_densely(Table<double>& table, const Factors& factors,
                    const std::vector<double>& gradient) {
  const AdamUpdate& last = factors.updates.back();
  for (std::size_t k = 0; k < table.weights.size(); ++k) {
    double &m = table.first_moments[k], &v = table.second_moments[k];
    m = kBeta1 * m + (1 - kBeta1) * gradient[k];
    v = kBeta2 * v + (1 - kBeta2) * gradient[k] * gradient[k];
    table.weights[k] =
        last.kept * table.weights[k] - last.rate * m / (std::sqrt(v) * last.root + kEpsilon);
  }
}

// `longest`: after so many updates all rows are caught up and the history begins anew.
template <typename T>
std::vector<T> train(std::int64_t dim, std::size_t longest, int num_threads, Table<double>& dense) {
  std::mt19937 random(3);
  const std::int64_t num_rows = 70;
  Table<T> table(num_rows, dim);
  dense = Table<double>(num_rows, dim);
  Factors factors;
  std::size_t begin = 0;
  std::vector<std::int64_t> all(num_rows);
  for (std::int64_t row = 0; row < num_rows; ++row) all[row] = row;
  for (int step = 0; step < 400; ++step) {
    factors.add(0.01 * (1 + step % 3), 0.1);
    std::vector<std::int64_t> rows;
    std::vector<T> values;
    std::vector<double> gradient(num_rows * dim);
    for (std::int64_t row = 0; row < num_rows; ++row) {
      if (random() % (1 + row * row) != 0) continue;
      rows.push_back(row);
      for (std::int64_t d = 0; d < dim; ++d) {
        values.push_back(static_cast<T>(random() / 2147483648.0 - 1));
        gradient[row * dim + d] = values.back();
      }
    }
    update_rows(table.view(), factors.from(begin), rows, values.data(), num_threads);
    update_densely(dense, factors, gradient);
    if (factors.updates.size() - begin < longest) continue;
    catch_up(table.view(), factors.from(begin), all, num_threads);
    begin = factors.updates.size();
  }
  catch_up(table.view(), factors.from(begin), all, num_threads);
  return table.weights;
}

template <typename T>
void test_it_is_adamw(double tolerance) {
  for (const std::int64_t dim : {1, 7, 130}) {
    Table<double> dense(1, 1);
    const std::vector<T> whole = train<T>(dim, 1000, 1, dense);
    for (std::size_t k = 0; k < whole.size(); ++k) {
      CHECK(std::abs(whole[k] - dense.weights[k]) < tolerance);
    }
    CHECK(train<T>(dim, 1000, 5, dense) == whole);
    CHECK(train<T>(dim, 37, 1, dense) == whole);
    CHECK(train<T>(dim, 1, 1, dense) == whole);
  }
}

void test_many_rows_on_several_threads() {
  Table<float> table(3000, 64), other(3000, 64);
  Factors factors;
  factors.add(0.1, 0.1);
  std::vector<std::int64_t> rows(3000);
  for (std::int64_t row = 0; row < 3000; ++row) rows[row] = row;
  const std::vector<float> gradient(3000 * 64, 0.25f);
  update_rows(table.view(), factors.from(0), rows, gradient.data(), 8);
  update_rows(other.view(), factors.from(0), rows, gradient.data(), 1);
  for (int step = 0; step < 9; ++step) factors.add(0.1, 0.1);
  rows.insert(rows.end(), rows.begin(), rows.begin() + 100);  // some twice
  catch_up(table.view(), factors.from(0), rows, 8);
  catch_up(other.view(), factors.from(0), rows, 1);
  CHECK(table.weights == other.weights);
}

void test_rows_without_moments_decay() {
  Table<double> table(3, 130);
  table.places = {0, -1, -1};
  Factors factors;
  for (int step = 0; step < 90; ++step) factors.add(0.1 + step, 1e-3);
  catch_up(table.view(), factors.from(0), std::vector<std::int64_t>{1, 0}, 1);
  double expected = 1;
  for (const AdamUpdate& update : factors.updates) expected *= update.kept;
  for (std::int64_t d = 0; d < 3 * 130; ++d) {
    CHECK(table.weights[d] == (d < 2 * 130 ? expected : 1));
  }
}

void test_bad_input() {
  Factors factors;
  for (int step = 0; step < 8; ++step) factors.add(0.1, 0.1);
  const std::vector<float> gradient(8);
  const auto refuses = [&](std::vector<std::int64_t> rows, std::size_t begin, std::int32_t weights,
                           std::int32_t moments) {
    Table<float> table(4, 2);
    std::ranges::fill(table.weight_steps, weights), std::ranges::fill(table.moment_steps, moments);
    const Table<float> before = table;
    CHECK_THROWS(update_rows(table.view(), factors.from(begin), rows, gradient.data(), 1),
                 std::invalid_argument);
    CHECK(table.weights == before.weights && table.weight_steps == before.weight_steps);
  };
  refuses({-1}, 0, 0, 0);
  refuses({4}, 0, 0, 0);
  refuses({2, 2}, 0, 0, 0);
  refuses({3, 1}, 0, 0, 0);
  refuses({1}, 0, 8, 0);  // has had the update
  refuses({1}, 3, 2, 0);  // has missed more than is known
  refuses({1}, 3, 9, 0);  // is ahead
  refuses({1}, 0, -1, -1);
  refuses({1}, 3, 4, 5);  // moments ahead of the weights
  refuses({1}, 8, 8, 0);  // nothing to give
  Table<float> table(4, 2);
  for (const std::int32_t place : {-2, 4}) {  // none of the moments
    table.places[1] = place;
    CHECK_THROWS(catch_up(table.view(), factors.from(0), std::vector<std::int64_t>{1}, 1),
                 std::invalid_argument);
  }
  table.places[1] = -1;
  CHECK_THROWS(
      update_rows(table.view(), factors.from(0), std::vector<std::int64_t>{1}, gradient.data(), 1),
      std::invalid_argument);
  AdamHistory far = factors.from(0);
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  for (const std::int64_t begin : {std::int64_t{-1}, kMost - 7, kMost, kMost << 32 | kMost << 1}) {
    far.begin = begin;
    CHECK_THROWS(catch_up(table.view(), far, std::vector<std::int64_t>{1}, 1),
                 std::invalid_argument);
  }
}

// A call that throws has changed nothing, or rows would never get the updates that they missed.
void test_what_is_refused_is_not_counted() {
  Factors factors;
  factors.add(0.1, 0.1);
  Table<float> table(4, 2);
  const std::vector<std::int64_t> rows{0, 3};
  CHECK_THROWS(catch_up(table.view(), factors.from(0), rows, 0), std::invalid_argument);
  CHECK(table.weight_steps == std::vector<std::int32_t>(4) && table.weights[0] == 1);
  catch_up(table.view(), factors.from(0), rows, 1);
  CHECK((table.weight_steps == std::vector<std::int32_t>{1, 0, 0, 1}) && table.weights[0] < 1);
}

}  // namespace
}  // namespace hybrid_fast

int main() {
  using namespace hybrid_fast;
  test_it_is_adamw<double>(1e-13);
  test_it_is_adamw<float>(1e-4);
  test_many_rows_on_several_threads();
  test_rows_without_moments_decay();
  test_bad_input();
  test_what_is_refused_is_not_counted();
}
