// Full rankings of rows of scores: the rank of every column, and the columns that come first.
#pragma once

#include <cstdint>
#include <span>

namespace hybrid_fast {

// Columns are counted in 32 bits while a row is ranked.
inline constexpr std::int64_t kMaxRankedColumns = (std::int64_t{1} << 32) - 1;

// Rows of scores, row-major, and how many of the best columns of each row are wanted.
struct RankingQuestion {
  std::span<const float> scores;  // no NaN
  std::int64_t num_rows = 0;
  std::int64_t num_columns = 0;
  std::int64_t num_first = 0;  // at most num_columns
};

// Writes for each score its rank in its row, from 1, highest score first, equal scores at the mean
// of the ranks they take, rounded to float (half ranks are exact below 2^23, all within 6e-8 of
// themselves); and for each row its first columns, equal scores in the order of columns.
// Rows are shared out over num_threads threads, which hold 16 bytes a column each; the result does
// not depend on their number.
// Throws std::invalid_argument when the arrays do not fit together. REQUIRES: no score is NaN.
void rank_rows(const RankingQuestion& question, int num_threads, std::span<float> ranks,
               std::span<std::int64_t> first);

// The first columns alone, as rank_rows finds them; a thread holds 16 bytes a first column.
void find_first(const RankingQuestion& question, int num_threads, std::span<std::int64_t> first);

}  // namespace hybrid_fast
