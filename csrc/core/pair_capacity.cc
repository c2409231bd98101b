#include "core/pair_capacity.h"

#include <vector>

namespace hybrid_fast {
namespace {

// Places of a group that are wanted.
template <typename Visit>
void for_each_place(const PlanIndex& index, const Cell& cell, std::uint32_t group, bool same_row,
                    const Wanted& wanted, Visit&& visit) {
  const auto labels = index.labels(cell, group);
  const std::uint32_t first = index.first_entry(cell, group);
  const Use query_use = same_row ? kMixedExample : kCrossQuery;
  const Use passage_use = same_row ? kMixedExample : kCrossPassage;
  for (std::uint32_t i = 0; i < labels.size(); ++i) {
    if ((labels[i].uses() & query_use) == 0) continue;
    for (std::uint32_t j = same_row ? i : 0; j < (same_row ? i + 1 : labels.size()); ++j) {
      if ((i == j) != same_row || (labels[j].uses() & passage_use) == 0) continue;
      if (wanted && !wanted(labels[i].language(), labels[j].language(), cell.source)) continue;
      if (!visit(PlanIndex::Place{group, first + i, first + j})) return;
    }
  }
}

// Enough examples of a place for every row of it to be in one.
void add_rows(const PlanIndex& index, const PlanIndex::Place& place, bool same_row,
              Capacity& capacity) {
  const std::uint64_t num_turns = index.most_rows(place, same_row);
  for (std::uint64_t turn = 0; turn < num_turns; ++turn) {
    capacity.add(index.resources(index.example(place, turn, same_row)));
  }
}

}  // namespace

std::uint64_t pair_capacity(const PlanIndex& index, bool same_row, const Wanted& wanted) {
  Capacity capacity(index.shares_texts() ? index.num_resources() : 0);
  std::uint64_t num_served = 0;
  std::vector<bool> queries, passages;  // entries of a group that are in an example already
  for (const Cell& cell : index.arrays().cells) {
    // Without shared texts all groups of a full cell are alike.
    const bool alike = !cell.mixed() && !index.shares_texts();
    for (std::uint32_t k = 0; k < (alike ? 1 : cell.num_groups); ++k) {
      const std::uint32_t group = cell.first_group + k;
      const std::uint32_t first = index.first_entry(cell, group);
      queries.assign(index.labels(cell, group).size(), false);
      passages = queries;
      for_each_place(index, cell, group, same_row, wanted, [&](const PlanIndex::Place& place) {
        if (!index.shares_texts()) {
          num_served += alike ? cell.num_groups : 1;
          return false;  // the group counts once
        }
        if (queries[place.query_entry - first] && passages[place.passage_entry - first])
          return true;
        queries[place.query_entry - first] = passages[place.passage_entry - first] = true;
        add_rows(index, place, same_row, capacity);
        return true;
      });
    }
  }
  return index.shares_texts() ? capacity.bound() : num_served;
}

PairCapacity::PairCapacity(const PlanIndex& index, bool same_row)
    : index_(index),
      same_row_(same_row),
      capacity_(index.shares_texts() ? index.num_resources() : 0) {}

std::uint64_t PairCapacity::operator()(const Pair& pair, std::uint32_t begin, std::uint32_t size) {
  if (!index_.shares_texts()) return size;
  capacity_.clear();
  for (std::uint32_t i = begin; i < begin + size; ++i) {
    add_rows(index_, index_.locate(pair, i), same_row_, capacity_);
  }
  return capacity_.bound();
}

}  // namespace hybrid_fast
