// What cross and mixed batches draw from: a pair of languages, or the part of it that is of one
// source.
#pragma once

#include <cstdint>
#include <vector>

#include "core/plan_index.h"

namespace hybrid_fast {

struct Lane {
  Pair pair;
  std::int32_t source;        // -1: all
  std::uint32_t begin, size;  // groups of the pair
};

inline std::vector<Lane> list_lanes(const PlanIndex& index, bool same_row, bool by_source) {
  std::vector<Lane> lanes;
  for (const Pair& pair : index.pairs(same_row)) {
    if (!by_source) {
      lanes.push_back({pair, -1, 0, pair.size});
      continue;
    }
    for (const Slice& slice : index.arrays().slices.subspan(pair.first_slice, pair.num_slices)) {
      lanes.push_back({pair, slice.source, slice.begin, slice.size});
    }
  }
  return lanes;
}

}  // namespace hybrid_fast
