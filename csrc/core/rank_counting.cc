#include "core/rank_counting.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "core/parallel.h"

namespace hybrid_fast {
namespace {

// One chunk of a row stays in the first-level cache while every asked column is counted in it.
constexpr std::int64_t kChunk = 4096;

// Plain loops over int32 counters: compilers turn both into vector compares on every target.
std::int32_t count_at_least(const float* first, const float* last, float threshold) {
  std::int32_t count = 0;
  for (; first < last; ++first) count += *first >= threshold ? 1 : 0;
  return count;
}

std::int32_t count_above(const float* first, const float* last, float threshold) {
  std::int32_t count = 0;
  for (; first < last; ++first) count += *first > threshold ? 1 : 0;
  return count;
}

// How many of the columns [first, last) of a row stand ahead of column j.
std::int32_t count_ahead(const float* row, std::int64_t first, std::int64_t last, std::int64_t j) {
  return count_at_least(row + first, row + std::min(last, j), row[j]) +
         count_above(row + std::max(first, j + 1), row + last, row[j]);
}

void rank_row(const RankQuestion& question, std::int64_t row, std::span<std::int64_t> block_ranks,
              std::span<std::int64_t> row_ranks) {
  const float* scores = question.scores.data() + row * question.num_columns;
  const std::int64_t begin = question.offsets[row], end = question.offsets[row + 1];
  std::fill(block_ranks.begin() + begin, block_ranks.begin() + end, 1);
  std::fill(row_ranks.begin() + begin, row_ranks.begin() + end, 1);
  for (std::size_t block = 0; block + 1 < question.block_starts.size(); ++block) {
    const std::int64_t block_end = question.block_starts[block + 1];
    for (std::int64_t first = question.block_starts[block]; first < block_end; first += kChunk) {
      const std::int64_t last = std::min(first + kChunk, block_end);
      for (std::int64_t entry = begin; entry < end; ++entry) {
        const std::int64_t j = question.columns[entry];
        const std::int32_t ahead = count_ahead(scores, first, last, j);
        row_ranks[entry] += ahead;
        if (question.block_starts[block] <= j && j < block_end) block_ranks[entry] += ahead;
      }
    }
  }
}

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

// Non-descending from 0 to `last`.
bool is_partition(std::span<const std::int64_t> bounds, std::int64_t last) {
  return !bounds.empty() && bounds.front() == 0 && bounds.back() == last &&
         std::is_sorted(bounds.begin(), bounds.end());
}

void check(const RankQuestion& question, std::size_t num_block_ranks, std::size_t num_row_ranks) {
  const auto num_entries = static_cast<std::int64_t>(question.columns.size());
  require(is_partition(question.offsets, num_entries),
          "offsets must rise from 0 to the number of columns asked");
  require(is_partition(question.block_starts, question.num_columns),
          "block_starts must rise from 0 to the number of score columns");
  const std::size_t num_rows = question.offsets.size() - 1;
  require(question.scores.size() == num_rows * static_cast<std::size_t>(question.num_columns),
          "scores must have one row for each row of offsets");
  require(num_block_ranks == question.columns.size() && num_row_ranks == question.columns.size(),
          "there must be one rank for each column asked");
  for (const std::int64_t j : question.columns) {
    if (j < 0 || j >= question.num_columns) {
      throw std::invalid_argument("column " + std::to_string(j) + " is outside the " +
                                  std::to_string(question.num_columns) + " score columns");
    }
  }
}

}  // namespace

void count_ranks(const RankQuestion& question, int num_threads, std::span<std::int64_t> block_ranks,
                 std::span<std::int64_t> row_ranks) {
  check(question, block_ranks.size(), row_ranks.size());
  require(num_threads >= 1, "num_threads must be at least 1");
  const auto num_rows = static_cast<std::int64_t>(question.offsets.size()) - 1;
  const std::int64_t num_parts =
      std::max<std::int64_t>(1, std::min<std::int64_t>(num_threads, num_rows));
  const auto num_workers = static_cast<std::size_t>(num_parts);
  parallel_for(num_workers, num_workers, [&](std::size_t number) {
    const auto part = static_cast<std::int64_t>(number);
    const std::int64_t end = num_rows * (part + 1) / num_parts;
    for (std::int64_t row = num_rows * part / num_parts; row < end; ++row) {
      rank_row(question, row, block_ranks, row_ranks);
    }
  });
}

}  // namespace hybrid_fast
