// Ranks by counting, against cases worked by hand and against a slow count on scores full of ties.
#include "core/rank_counting.h"

#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#include "check.h"

namespace hybrid_fast {
namespace {

using Ints = std::vector<std::int64_t>;

struct Case {
  std::vector<float> scores;
  std::int64_t num_columns;
  Ints block_starts;
  Ints offsets;
  Ints columns;
};

// (ranks within the block, ranks within the row)
std::pair<Ints, Ints> ranks(const Case& c, int num_threads = 1) {
  Ints block_ranks(c.columns.size(), -1), row_ranks(c.columns.size(), -1);
  count_ranks({c.scores, c.num_columns, c.block_starts, c.offsets, c.columns}, num_threads,
              block_ranks, row_ranks);
  return {block_ranks, row_ranks};
}

std::pair<Ints, Ints> slow_ranks(const Case& c) {
  Ints block_ranks, row_ranks;
  for (std::size_t row = 0; row + 1 < c.offsets.size(); ++row) {
    const float* s = c.scores.data() + row * c.num_columns;
    for (std::int64_t entry = c.offsets[row]; entry < c.offsets[row + 1]; ++entry) {
      const std::int64_t j = c.columns[entry];
      std::size_t block = 0;
      while (c.block_starts[block + 1] <= j) ++block;
      std::int64_t in_block = 1, in_row = 1;
      for (std::int64_t k = 0; k < c.num_columns; ++k) {
        const bool ahead = s[k] > s[j] || (s[k] == s[j] && k < j);
        in_row += ahead;
        in_block += ahead && c.block_starts[block] <= k && k < c.block_starts[block + 1];
      }
      block_ranks.push_back(in_block);
      row_ranks.push_back(in_row);
    }
  }
  return {block_ranks, row_ranks};
}

void test_no_rows() { CHECK(ranks({{}, 3, {0, 3}, {0}, {}}).first.empty()); }

void test_row_without_columns() {
  CHECK(ranks({{.5f, .25f}, 2, {0, 2}, {0, 0}, {}}).second.empty());
}

void test_single_column() {
  CHECK((ranks({{-1.f}, 1, {0, 1}, {0, 1}, {0}}) == std::pair<Ints, Ints>{{1}, {1}}));
}

void test_two_blocks() {
  // Order: 0.9 (3), 0.7 (1), 0.5 (0), 0.1 (2); blocks {0, 1} and {2, 3}.
  const Case c{{.5f, .7f, .1f, .9f}, 4, {0, 2, 4}, {0, 4}, {0, 1, 2, 3}};
  CHECK((ranks(c) == std::pair<Ints, Ints>{{2, 1, 2, 1}, {3, 2, 4, 1}}));
}

void test_all_equal_in_order_of_columns() {
  const Case c{{0.f, -0.f, 0.f}, 3, {0, 1, 3}, {0, 3}, {2, 1, 0}};
  CHECK((ranks(c) == std::pair<Ints, Ints>{{2, 1, 1}, {3, 2, 1}}));
}

void test_empty_block() {
  const Case c{{1.f, 2.f}, 2, {0, 0, 2, 2}, {0, 1}, {0}};
  CHECK((ranks(c) == std::pair<Ints, Ints>{{2}, {2}}));
}

void test_infinite_scores() {
  const float infinity = std::numeric_limits<float>::infinity();
  const Case c{{-infinity, 0.f, infinity}, 3, {0, 3}, {0, 3}, {0, 1, 2}};
  CHECK((ranks(c).second == Ints{3, 2, 1}));
}

// Blocks longer than a chunk, few distinct scores, any number of threads.
void test_against_slow_count() {
  std::mt19937 random(7);
  for (const std::int64_t num_columns : {5, 4095, 4096, 4097, 10001}) {
    Case c{{}, num_columns, {0, 1, num_columns / 2, num_columns}, {0}, {}};
    for (int row = 0; row < 9; ++row) {
      for (std::int64_t k = 0; k < num_columns; ++k) {
        c.scores.push_back(static_cast<float>(static_cast<int>(random() % 7) - 3) / 4);
      }
      for (int entry = 0; entry < row % 4; ++entry) c.columns.push_back(random() % num_columns);
      c.offsets.push_back(static_cast<std::int64_t>(c.columns.size()));
    }
    const auto truth = slow_ranks(c);
    for (const int num_threads : {1, 2, 20}) CHECK(ranks(c, num_threads) == truth);
  }
}

void test_bad_input() {
  const Case good{{1.f, 2.f}, 2, {0, 2}, {0, 1}, {1}};
  CHECK(ranks(good).first == Ints{1});
  const auto spoiled = [&](auto spoil) {
    Case c = good;
    spoil(c);
    return c;
  };
  const std::vector<Case> bad = {
      spoiled([](Case& c) { c.columns = {2}; }),
      spoiled([](Case& c) { c.columns = {-1}; }),
      spoiled([](Case& c) { c.offsets = {0, 2}; }),
      spoiled([](Case& c) { c.offsets = {1, 1}; }),
      spoiled([](Case& c) { c.offsets = {}; }),
      spoiled([](Case& c) { c.offsets = {0, 1, 1}; }),
      spoiled([](Case& c) { c.block_starts = {}; }),
      spoiled([](Case& c) { c.block_starts = {0, 1}; }),
      spoiled([](Case& c) { c.scores.push_back(3); }),
      spoiled([](Case& c) { c.block_starts = {0, 3, 1, 2}; }),
  };
  for (const Case& c : bad) CHECK_THROWS(ranks(c), std::invalid_argument);
  CHECK_THROWS(ranks(good, 0), std::invalid_argument);
}

}  // namespace
}  // namespace hybrid_fast

int main() {
  using namespace hybrid_fast;
  test_no_rows();
  test_row_without_columns();
  test_single_column();
  test_two_blocks();
  test_all_equal_in_order_of_columns();
  test_empty_block();
  test_infinite_scores();
  test_against_slow_count();
  test_bad_input();
}
