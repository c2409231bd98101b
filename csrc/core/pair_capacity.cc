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
template <typename Visit>
void for_each_row(const PlanIndex& index, const PlanIndex::Place& place, bool same_row,
                  Visit&& visit) {
  const std::uint64_t num_turns = index.most_rows(place, same_row);
  for (std::uint64_t turn = 0; turn < num_turns; ++turn) {
    visit(index.example(place, turn, same_row));
  }
}

// The same of all places that are wanted.
template <typename Visit>
void for_each_example(const PlanIndex& index, bool same_row, const Wanted& wanted, Visit&& visit) {
  std::vector<bool> queries, passages;  // entries of a group that are in an example already
  for (const Cell& cell : index.arrays().cells) {
    for (std::uint32_t k = 0; k < cell.num_groups; ++k) {
      const std::uint32_t group = cell.first_group + k;
      const std::uint32_t first = index.first_entry(cell, group);
      queries.assign(index.labels(cell, group).size(), false);
      passages = queries;
      for_each_place(index, cell, group, same_row, wanted, [&](const PlanIndex::Place& place) {
        if (queries[place.query_entry - first] && passages[place.passage_entry - first])
          return true;
        queries[place.query_entry - first] = passages[place.passage_entry - first] = true;
        for_each_row(index, place, same_row, visit);
        return true;
      });
    }
  }
}

// Groups that some wanted place has.
std::uint64_t num_served(const PlanIndex& index, bool same_row, const Wanted& wanted) {
  std::uint64_t num_served = 0;
  for (const Cell& cell : index.arrays().cells) {
    // All groups of a full cell are alike.
    for (std::uint32_t k = 0; k < (cell.mixed() ? cell.num_groups : 1); ++k) {
      const auto serve = [&](const PlanIndex::Place&) {
        num_served += cell.mixed() ? 1 : cell.num_groups;
        return false;  // the group counts once
      };
      for_each_place(index, cell, cell.first_group + k, same_row, wanted, serve);
    }
  }
  return num_served;
}

}  // namespace

std::uint64_t pair_capacity(const PlanIndex& index, bool same_row, const Wanted& wanted) {
  if (!index.shares_texts()) return num_served(index, same_row, wanted);
  return Capacity(index).of(
      [&](auto&& visit) { for_each_example(index, same_row, wanted, visit); });
}

PairCapacity::PairCapacity(const PlanIndex& index, bool same_row)
    : index_(index), same_row_(same_row) {
  if (index.shares_texts()) capacity_.emplace(index);
}

std::uint64_t PairCapacity::operator()(const Pair& pair, std::uint32_t begin, std::uint32_t size) {
  if (!capacity_) return size;
  return capacity_->of([&](auto&& visit) {
    for (std::uint32_t i = begin; i < begin + size; ++i) {
      for_each_row(index_, index_.locate(pair, i), same_row_, visit);
    }
  });
}

}  // namespace hybrid_fast
