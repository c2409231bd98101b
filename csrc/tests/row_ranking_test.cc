// Full rankings, against cases worked by hand and against a slow count on scores full of ties.
#include "core/row_ranking.h"

#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#include "check.h"

namespace hybrid_fast {
namespace {

using Floats = std::vector<float>;
using Ints = std::vector<std::int64_t>;

// (ranks, first columns)
std::pair<Floats, Ints> rank(const Floats& scores, std::int64_t num_rows, std::int64_t num_first,
                             int num_threads = 1) {
  const std::int64_t num_columns =
      num_rows == 0 ? 0 : static_cast<std::int64_t>(scores.size()) / num_rows;
  Floats ranks(scores.size(), -1);
  Ints first(num_rows * num_first, -1);
  rank_rows({scores, num_rows, num_columns, num_first}, num_threads, ranks, first);
  Ints first_alone(num_rows * num_first, -1);
  find_first({scores, num_rows, num_columns, num_first}, num_threads, first_alone);
  CHECK(first_alone == first);
  return {ranks, first};
}

void test_by_hand() {
  CHECK((rank({.5f, .75f, -2.f, 1.f}, 1, 3) == std::pair<Floats, Ints>{{3, 2, 4, 1}, {3, 1, 0}}));
}

void test_equal_scores_share_the_mean_rank() {
  CHECK((rank({1.f, 0.f, -0.f, 1.f, 0.f}, 1, 4) ==
         std::pair<Floats, Ints>{{1.5f, 4, 4, 1.5f, 4}, {0, 3, 1, 2}}));
}

void test_infinite_and_tiny_scores() {
  const float infinity = std::numeric_limits<float>::infinity();
  const float tiny = std::numeric_limits<float>::denorm_min();
  CHECK((rank({-infinity, -tiny, tiny, infinity, 0.f}, 1, 0).first == Floats{5, 4, 2, 1, 3}));
}

void test_nothing() {
  CHECK(rank({}, 0, 0).first.empty());
  CHECK(rank({}, 3, 0).second.empty());
}

void test_against_slow_count() {
  std::mt19937 random(3);
  for (const std::int64_t num_columns : {1, 2, 100, 2049}) {
    const std::int64_t num_rows = 5;
    Floats scores;
    for (std::int64_t k = 0; k < num_rows * num_columns; ++k) {
      const auto draw = static_cast<float>(random());
      scores.push_back(k % 3 == 0 ? draw / 4e9f - .5f : static_cast<float>(random() % 5) - 2);
    }
    Floats ranks;
    for (std::int64_t k = 0; k < num_rows * num_columns; ++k) {
      const float* row = scores.data() + k / num_columns * num_columns;
      std::int64_t above = 0, equal = 0;
      for (std::int64_t j = 0; j < num_columns; ++j) {
        above += row[j] > scores[k];
        equal += row[j] == scores[k];
      }
      ranks.push_back(static_cast<float>(2 * above + equal + 1) / 2);
    }
    for (const int num_threads : {1, 2, 9}) {
      CHECK(rank(scores, num_rows, num_columns, num_threads).first == ranks);
      CHECK(rank(scores, num_rows, 1, num_threads).second == rank(scores, num_rows, 1).second);
    }
  }
}

void test_bad_input() {
  Floats scores(6), ranks(6);
  Ints first(2);
  const auto run = [&](std::int64_t rows, std::int64_t columns, std::int64_t num_first, int threads,
                       std::size_t num_ranks) {
    rank_rows({scores, rows, columns, num_first}, threads, std::span(ranks).first(num_ranks),
              first);
  };
  run(2, 3, 1, 1, 6);
  CHECK_THROWS(run(2, 2, 1, 1, 6), std::invalid_argument);
  CHECK_THROWS(run(2, 3, 4, 1, 6), std::invalid_argument);
  CHECK_THROWS(run(2, 3, -1, 1, 6), std::invalid_argument);
  CHECK_THROWS(run(2, 3, 2, 1, 6), std::invalid_argument);
  CHECK_THROWS(run(2, 3, 1, 0, 6), std::invalid_argument);
  CHECK_THROWS(run(2, 3, 1, 1, 5), std::invalid_argument);
  CHECK_THROWS(run(0, kMaxRankedColumns + 1, 0, 1, 0), std::invalid_argument);
}

}  // namespace
}  // namespace hybrid_fast

int main() {
  using namespace hybrid_fast;
  test_by_hand();
  test_equal_scores_share_the_mean_rank();
  test_infinite_and_tiny_scores();
  test_nothing();
  test_against_slow_count();
  test_bad_input();
}
