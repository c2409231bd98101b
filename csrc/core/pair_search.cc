#include "core/pair_search.h"

#include <array>
#include <span>

namespace hybrid_fast {

std::optional<Example> PairSearch::find_in_stream(std::uint32_t number, std::uint64_t key) {
  const PairStream& stream = streams_[number];
  const auto take_one = [&](std::uint64_t i, std::uint64_t draw) {
    const PlanIndex::Place place =
        index_.locate(stream.pair, stream.begin + static_cast<std::uint32_t>(i));
    return take(place, draw % index_.num_turns(place, same_row_));
  };
  const auto take_of_chunk = [&](std::uint64_t first, std::uint64_t count) {
    std::array<PlanIndex::Request, FreeSearch::kChunk> requests;
    std::array<PlanIndex::Place, FreeSearch::kChunk> places;
    for (std::uint64_t i = 0; i < count; ++i) {
      requests[i] = {&stream.pair, stream.begin + static_cast<std::uint32_t>(first + i)};
    }
    index_.locate(std::span(requests).first(count), std::span(places).first(count));
    std::uint64_t i = 0;
    while (i < count && !take_any_turn(places[i])) ++i;
    return i;
  };
  if (!stream_searches_[number].find(stream.size, key, take_one, take_of_chunk)) return {};
  return found_;
}

std::optional<Example> PairSearch::find_anywhere(std::uint64_t key) {
  const auto take_group = [&](std::uint64_t i, std::uint64_t draw) {
    const auto group = static_cast<std::uint32_t>(i);
    if (draft_.taken.has_group(group)) return false;
    const Cell& cell = index_.cell_of(group);
    const std::size_t num_labels = index_.labels(cell, group).size();
    // Every pair of its languages, from a random one on.
    for (std::size_t k = 0; k < num_labels * num_labels; ++k) {
      const std::size_t pair = (draw + k) % (num_labels * num_labels);
      if (take_pair(cell, group, pair / num_labels, pair % num_labels)) return true;
    }
    return false;
  };
  const auto take_of_chunk = [&](std::uint64_t first, std::uint64_t count) {
    std::uint64_t i = 0;
    while (i < count && !take_group(first + i, key >> 33)) ++i;
    return i;
  };
  const std::uint64_t num_groups = index_.summary().num_groups;
  if (!group_search_.find(num_groups, key, take_group, take_of_chunk)) return {};
  return found_;
}

bool PairSearch::take(const PlanIndex::Place& place, std::uint64_t turn) {
  if (draft_.taken.has_group(place.group)) return false;
  found_ = index_.example(place, turn, same_row_);
  return accept(index_, found_, draft_);
}

bool PairSearch::take_any_turn(const PlanIndex::Place& place) {
  if (draft_.taken.has_group(place.group)) return false;
  const std::uint64_t num_turns = index_.num_turns(place, same_row_);
  for (std::uint64_t turn = 0; turn < num_turns; ++turn) {
    if (take(place, turn)) return true;
  }
  return false;
}

bool PairSearch::take_pair(const Cell& cell, std::uint32_t group, std::size_t query,
                           std::size_t passage) {
  const Label x = index_.labels(cell, group)[query], y = index_.labels(cell, group)[passage];
  if ((query == passage) != same_row_) return false;
  if (!(x.uses() & (same_row_ ? kMixedExample : kCrossQuery))) return false;
  if (!(y.uses() & (same_row_ ? kMixedExample : kCrossPassage))) return false;
  const auto stream = streams_.find(x.language(), y.language(), cell.source);
  if (!stream || shares_[*stream] == 0) return false;
  const std::uint32_t entry = index_.first_entry(cell, group);
  return take_any_turn({group, entry + static_cast<std::uint32_t>(query),
                        entry + static_cast<std::uint32_t>(passage)});
}

}  // namespace hybrid_fast
