// Rows in the order of their keys, and by group.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/columns.h"

namespace hybrid_fast {

// Row numbers in the order of their keys, equal keys in the order of rows.
std::vector<std::uint32_t> sorted_rows(std::span<const std::int64_t> keys);

// Rows sorted by group, then by row, and where each group begins.
struct Groups {
  std::vector<std::uint32_t> rows;    // all rows, group by group
  std::vector<std::uint32_t> starts;  // first position of each group in `rows`, then rows.size()

  std::size_t size() const { return starts.size() - 1; }
  std::span<const std::uint32_t> rows_of(std::uint32_t group) const {
    return std::span(rows).subspan(starts[group], starts[group + 1] - starts[group]);
  }
};

Groups group_rows(const Columns& columns);

}  // namespace hybrid_fast
