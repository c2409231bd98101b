// Exact ranks of chosen columns within rows of scores, by counting what stands ahead of them.
//
// The rank of column j among columns [first, last) of a row s is
//   1 + #{k in [first, j): s[k] >= s[j]} + #{k in [j + 1, last): s[k] > s[j]},
// that is: scores descending, equal scores in the order of their columns. Nothing is sorted, and
// the only memory is what the caller passes.
#pragma once

#include <cstdint>
#include <span>

namespace hybrid_fast {

// Rows of scores over candidates that lie in blocks (one block a language), and the columns whose
// ranks are wanted, row after row.
struct RankQuestion {
  std::span<const float> scores;  // row-major, num_columns to a row; no NaN
  std::int64_t num_columns = 0;
  std::span<const std::int64_t> block_starts;  // first column of each block, then num_columns
  std::span<const std::int64_t> offsets;       // row r asks columns[offsets[r], offsets[r + 1])
  std::span<const std::int64_t> columns;
};

// Writes, for each entry of question.columns, its rank within its own block and within the whole
// row. Rows are shared out over num_threads threads; the result does not depend on their number.
// Throws std::invalid_argument when the arrays do not fit together. REQUIRES: no score is NaN.
void count_ranks(const RankQuestion& question, int num_threads, std::span<std::int64_t> block_ranks,
                 std::span<std::int64_t> row_ranks);

}  // namespace hybrid_fast
