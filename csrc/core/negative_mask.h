// Which columns of a chunk of scores are no negatives of its rows.
#pragma once

#include <cstdint>

namespace hybrid_fast {

// The rules, null where they were not asked for. A column is excluded from a row if any of them
// says so; the row's positive never is. Groups and ids of -1 match nothing.
struct NegativeMask {
  const std::int64_t* query_groups = nullptr;       // (num_rows,)
  const std::int64_t* passage_groups = nullptr;     // (num_columns,), beside query_groups
  const std::int64_t* query_passage_ids = nullptr;  // (num_rows,), of the positives
  const std::int64_t* passage_ids = nullptr;        // (num_columns,), beside query_passage_ids
  const std::uint8_t* mask = nullptr;  // (num_rows, num_columns), rows `mask_stride` apart
  std::int64_t mask_stride = 0;
  const std::uint8_t* excluded_columns = nullptr;  // (num_columns,); 1: of every row
  // (num_columns,): the number of the row whose hard negative a column is; others have none.
  const std::int64_t* owners = nullptr;
  // (num_rows,); 0: the row keeps its own hard negatives alone, and is no negative of another's
  // positive.
  const std::uint8_t* in_batch = nullptr;
  // Of unscaled scores: excludes what is more than this above the positive, but for a row's own
  // hard negatives. Infinity: no margin.
  double margin = __builtin_inf();

  // The number of the first row of the scores, where they are not those of all rows.
  std::int64_t first_row = 0;
};

}  // namespace hybrid_fast
