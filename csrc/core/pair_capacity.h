// Batch sizes that the pairs of an index can always fill.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "core/capacity.h"
#include "core/plan_index.h"

namespace hybrid_fast {

// Whether a batch may draw a pair of a source; empty: all.
using Wanted = std::function<bool(std::int32_t query_language, std::int32_t passage_language,
                                  std::int32_t source)>;

// From all wanted cross (or, with `same_row`, mixed) pairs, chosen freely.
std::uint64_t pair_capacity(const PlanIndex& index, bool same_row, const Wanted& wanted);

// From groups [begin, begin + size) of one pair, for many pairs one after another.
class PairCapacity {
 public:
  PairCapacity(const PlanIndex& index, bool same_row);
  std::uint64_t operator()(const Pair& pair, std::uint32_t begin, std::uint32_t size);

 private:
  const PlanIndex& index_;
  bool same_row_;
  std::optional<Capacity> capacity_;  // where texts are shared
};

}  // namespace hybrid_fast
