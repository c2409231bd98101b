#include "core/lane_stream.h"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>

#include "core/crowding.h"
#include "core/order.h"
#include "core/pair_capacity.h"
#include "core/random.h"

namespace hybrid_fast {

// One search for each lane that asks for one, and one over all groups.
struct LaneStream::Searches {
  std::unordered_map<std::uint32_t, FreeSearch> of_lane;
  FreeSearch of_all;
};

LaneStream::LaneStream(const PlanIndex& index, const PlanOptions& options, bool same_row)
    : index_(index),
      same_row_(same_row),
      batch_size_(options.batch_size),
      key_(derive(options.seed, same_row ? 'x' : 'c')),
      single_pair_(options.single_pair),
      lanes_(index, same_row, options.source_weights) {
  ask(options);
  weigh_lanes();
  if (largest_batch_ < batch_size_) return;
  for (std::uint32_t lane = 0; lane < lanes_.size(); ++lane) {
    // In a large lane the end of a pass and the start of the next hardly ever share a group.
    constexpr std::uint64_t kLarge = 16;
    const std::uint64_t window = std::max<std::uint64_t>(1, cycle_.most_turns(lane, batch_size_));
    windows_.push_back(lanes_[lane].size >= kLarge * window ? 1 : window);
    lane_keys_.push_back(derive(key_, lane));
  }
  complete_ = !single_pair_ && alike();
  if (!complete_) return;
  const Permutation order(lanes_.size(), derive(key_, 'o'));
  for (std::uint32_t lane = 0; lane < lanes_.size(); ++lane) {
    lane_order_.push_back(static_cast<std::uint32_t>(order(lane)));
  }
  shift_period_ = std::lcm(std::uint64_t{lanes_[0].size}, std::uint64_t{lanes_.size()});
}

bool LaneStream::alike() const {
  const auto cells = [&](const Lane& lane) {
    return index_.arrays().spans.subspan(lane.pair.first_span, lane.pair.num_spans);
  };
  const Lane& first = lanes_[0];
  for (std::uint32_t k = 0; k < lanes_.size(); ++k) {
    const bool same_groups =
        lanes_[k].begin == first.begin && lanes_[k].size == first.size &&
        std::ranges::equal(cells(lanes_[k]), cells(first), [&](const Span& a, const Span& b) {
          return a.cell == b.cell && !index_.arrays().cells[a.cell].mixed();
        });
    if (!same_groups || cycle_.shares()[k] != cycle_.shares()[0]) return false;
  }
  return true;
}

void LaneStream::ask(const PlanOptions& options) {
  // Groups and source weights of each pair, over its lanes.
  std::map<std::pair<std::int32_t, std::int32_t>, std::pair<std::uint64_t, double>> pairs;
  for (const Lane& lane : lanes_) {
    auto& [size, source_weight] = pairs[{lane.pair.query_language, lane.pair.passage_language}];
    size += lane.size;
    source_weight += lane.source < 0 ? 1.0 : options.source_weights[lane.source];
  }
  const auto num_languages = static_cast<std::size_t>(index_.summary().num_languages);
  for (const Lane& lane : lanes_) {
    const std::int32_t x = lane.pair.query_language, y = lane.pair.passage_language;
    const auto& [size, source_weight] = pairs[{x, y}];
    double weight = power_law(size, options.exponent);
    if (!options.pair_weights.empty()) {
      weight = options.pair_weights[x * num_languages + y];
    } else if (!options.language_weights.empty()) {
      weight = options.language_weights[x] * (x == y ? 1.0 : options.language_weights[y]);
    }
    if (lane.source >= 0) weight *= options.source_weights[lane.source] / source_weight;
    asked_.push_back(weight);
  }
  for (std::size_t i = 0; i < options.pair_weights.size(); ++i) {
    const auto x = static_cast<std::int32_t>(i / num_languages);
    const auto y = static_cast<std::int32_t>(i % num_languages);
    if (options.pair_weights[i] > 0 && !pairs.contains({x, y})) {
      unserved_.push_back({x, y, -1, 0, 0, options.pair_weights[i], 0.0});
    }
  }
}

void LaneStream::weigh_lanes() {
  std::vector<double> weights = asked_;
  if (single_pair_) {
    PairCapacity capacity(index_, same_row_);
    for (std::uint32_t k = 0; k < lanes_.size(); ++k) {
      const Lane& lane = lanes_[k];
      capacities_.push_back(asked_[k] > 0 ? capacity(lane.pair, lane.begin, lane.size) : 0);
      largest_batch_ = std::max(largest_batch_, capacities_.back());
      if (capacities_.back() < batch_size_) weights[k] = 0;
    }
  } else {
    largest_batch_ = capacity();
    if (largest_batch_ >= batch_size_) {
      weights = uncrowded(index_, lanes_, same_row_, batch_size_, std::move(weights));
    }
  }
  cycle_ = Cycle(weights, derive(key_, 'l'));
}

std::uint64_t LaneStream::capacity() const {
  const bool all = std::ranges::all_of(asked_, [](double weight) { return weight > 0; });
  if (all && !lanes_.empty() && lanes_[0].source < 0) {
    return same_row_ ? index_.summary().mixed_capacity : index_.summary().cross_capacity;
  }
  return pair_capacity(index_, same_row_, [&](std::int32_t x, std::int32_t y, std::int32_t source) {
    const auto lane = lanes_.find(x, y, source);
    return lane && asked_[*lane] > 0;
  });
}

void LaneStream::plan(std::uint64_t index, Draft& draft) const {
  thread_local std::vector<Slot> slots;
  thread_local std::vector<PlanIndex::Request> requests;
  thread_local std::vector<PlanIndex::Place> places;
  slots.resize(batch_size_);
  requests.resize(batch_size_);
  places.resize(batch_size_);
  const std::uint64_t first = index * batch_size_;
  if (single_pair_) {
    draw_single_pair(index, slots);
  } else if (complete_) {
    draw_complete(first, slots);
  } else {
    draw_balanced(first, slots);
  }
  for (std::uint64_t i = 0; i < batch_size_; ++i) {
    const Lane& lane = lanes_[slots[i].lane];
    requests[i] = {&lane.pair, lane.begin + slots[i].entry};
  }
  index_.locate(requests, places);
  const bool conflicts = !complete_ || index_.shares_passages();
  // From a random slot on, so that of two entries that may not meet each gets its chance.
  const std::uint64_t start = conflicts ? derive(key_, ~index) % batch_size_ : 0;
  std::vector<std::uint64_t> refused;
  for (std::uint64_t k = 0; k < batch_size_; ++k) {
    const std::uint64_t i = start + k < batch_size_ ? start + k : start + k - batch_size_;
    const Example example = index_.example(places[i], slots[i].turn, same_row_);
    draft.query_rows[i] = example.query_row;
    draft.passage_rows[i] = example.passage_row;
    if (conflicts && !accept(draft, example)) refused.push_back(i);
  }
  Searches searches;
  for (std::uint64_t i : refused) {
    const std::uint64_t key = derive(derive(key_, 's'), first + i);
    const Example example = substitute(slots[i].lane, key, searches, draft);
    draft.query_rows[i] = example.query_row;
    draft.passage_rows[i] = example.passage_row;
  }
}

void LaneStream::draw_complete(std::uint64_t n, std::span<Slot> slots) const {
  const std::uint64_t num_groups = lanes_[0].size;
  while (!slots.empty()) {
    const std::uint64_t first = n % num_groups;
    const std::uint64_t count = std::min<std::uint64_t>(slots.size(), num_groups - first);
    draw_pass(n / num_groups, first, slots.first(count));
    slots = slots.subspan(count);
    n += count;
  }
}

void LaneStream::draw_pass(std::uint64_t pass, std::uint64_t first, std::span<Slot> slots) const {
  const std::uint64_t num_groups = lanes_[0].size;
  const std::uint64_t num_lanes = lane_order_.size();
  const std::uint64_t smallest_class = num_groups / num_lanes;
  const std::uint64_t num_larger_classes = num_groups % num_lanes;
  // Where no batch reaches over the end of a pass, passes need not mind one another.
  const bool aligned = num_groups % batch_size_ == 0;
  const std::uint64_t window = aligned ? 1 : (batch_size_ + num_lanes - 1) / num_lanes + 1;
  const std::uint64_t n = pass * num_groups + first;
  // Slots of one residue class share their lane and order; groups of a class lie side by side, so
  // that neighbours in the table, which may share a passage, are drawn far apart.
  for (std::uint64_t k = 0; k < std::min<std::uint64_t>(num_lanes, slots.size()); ++k) {
    const std::uint64_t residue = (first + k) % num_lanes;
    const std::uint32_t lane = lane_order_[(n + k + n / shift_period_) % num_lanes];
    const std::uint64_t class_size = smallest_class + (residue < num_larger_classes ? 1 : 0);
    const std::uint64_t class_begin =
        residue * smallest_class + std::min(residue, num_larger_classes);
    const PassOrder order(class_size, window, derive(key_, residue), pass);
    std::uint64_t i = (first + k) / num_lanes;
    for (std::uint64_t s = k; s < slots.size(); s += num_lanes) {
      const std::uint64_t group = class_begin + order(i++);
      slots[s] = {lane, static_cast<std::uint32_t>(group), row_turn(group, pass / num_lanes)};
    }
  }
}

void LaneStream::draw_balanced(std::uint64_t n, std::span<Slot> slots) const {
  thread_local std::vector<Cycle::Turn> turns;
  thread_local std::vector<Pass> passes;  // by lane: the one that its last slot was in
  turns.resize(slots.size());
  cycle_.draw(n, turns);
  // Where lanes come up but once a batch there is nothing to keep.
  const bool once = lanes_.size() > slots.size();
  passes.assign(once ? 0 : lanes_.size(), Pass{});
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto [lane, position] = turns[i];
    if (once || windows_[lane] > 1) {
      slots[i] = slot_at(lane, position, windows_[lane]);
      continue;
    }
    const std::uint64_t size = lanes_[lane].size;
    Pass& pass = passes[lane];
    if (position - pass.begin >= size || !pass.order) {
      const std::uint64_t number = position / size;
      pass = {number * size, number, Permutation(size, derive(lane_keys_[lane], number))};
    }
    const std::uint64_t entry = (*pass.order)(position - pass.begin);
    slots[i] = {lane, static_cast<std::uint32_t>(entry), row_turn(entry, pass.number)};
  }
}

void LaneStream::draw_single_pair(std::uint64_t index, std::span<Slot> slots) const {
  const auto [lane, turn] = cycle_.at(index);
  const bool aligned = lanes_[lane].size % batch_size_ == 0;
  std::uint64_t position = turn * batch_size_;
  for (Slot& slot : slots) slot = slot_at(lane, position++, aligned ? 1 : batch_size_);
}

LaneStream::Slot LaneStream::slot_at(std::uint32_t lane, std::uint64_t position,
                                     std::uint64_t window) const {
  const std::uint64_t size = lanes_[lane].size;
  const std::uint64_t pass = position / size;
  const std::uint64_t i = PassOrder::at(size, window, lane_keys_[lane], position);
  return {lane, static_cast<std::uint32_t>(i), row_turn(i, pass)};
}

std::uint64_t LaneStream::row_turn(std::uint64_t i, std::uint64_t pass) const {
  return index_.has_alternatives() ? pass + (mix(key_ ^ i) >> 33) : 0;
}

bool LaneStream::accept(Draft& draft, const Example& example) const {
  const std::uint32_t passage = index_.shared_passage(example.passage_row);
  const std::uint32_t own = index_.shared_passage(example.query_row);
  return draft.taken.add(example.group, own == passage ? 0 : own, passage);
}

Example LaneStream::substitute(std::uint32_t lane, std::uint64_t key, Searches& searches,
                               Draft& draft) const {
  Example found{};
  if (find_in_lane(lane, key, searches, draft, found)) {
    ++draft.info.substituted_entries;
    return found;
  }
  // In a single-pair batch no other pair may step in.
  if (!single_pair_ && find_in_any(key, searches, draft, found)) {
    ++draft.info.substituted_lanes;
    return found;
  }
  // Capacity is a lower bound of every maximal batch, so a free example always exists.
  throw std::logic_error("batch could not be filled; this is a defect of hybrid_fast");
}

bool LaneStream::take(const PlanIndex::Place& place, std::uint64_t turn, Draft& draft,
                      Example& found) const {
  if (draft.taken.has_group(place.group)) return false;
  found = index_.example(place, turn, same_row_);
  return accept(draft, found);
}

bool LaneStream::take_any_turn(const PlanIndex::Place& place, Draft& draft, Example& found) const {
  if (draft.taken.has_group(place.group)) return false;
  const std::uint64_t num_turns = index_.num_turns(place, same_row_);
  for (std::uint64_t turn = 0; turn < num_turns; ++turn) {
    if (take(place, turn, draft, found)) return true;
  }
  return false;
}

bool LaneStream::find_in_lane(std::uint32_t number, std::uint64_t key, Searches& searches,
                              Draft& draft, Example& found) const {
  const Lane& lane = lanes_[number];
  const auto take_one = [&](std::uint64_t i, std::uint64_t draw) {
    const PlanIndex::Place place = locate(number, i);
    return take(place, draw % index_.num_turns(place, same_row_), draft, found);
  };
  const auto take_of_chunk = [&](std::uint64_t first, std::uint64_t count) {
    std::array<PlanIndex::Request, FreeSearch::kChunk> requests;
    std::array<PlanIndex::Place, FreeSearch::kChunk> places;
    for (std::uint64_t i = 0; i < count; ++i) {
      requests[i] = {&lane.pair, lane.begin + static_cast<std::uint32_t>(first + i)};
    }
    index_.locate(std::span(requests).first(count), std::span(places).first(count));
    std::uint64_t i = 0;
    while (i < count && !take_any_turn(places[i], draft, found)) ++i;
    return i;
  };
  return searches.of_lane[number].find(lane.size, key, take_one, take_of_chunk);
}

bool LaneStream::find_in_any(std::uint64_t key, Searches& searches, Draft& draft,
                             Example& found) const {
  const auto take_group = [&](std::uint64_t i, std::uint64_t draw) {
    const auto group = static_cast<std::uint32_t>(i);
    if (draft.taken.has_group(group)) return false;
    const Cell& cell = index_.cell_of(group);
    const std::size_t num_labels = index_.labels(cell, group).size();
    // Every pair of its languages, from a random one on.
    for (std::size_t k = 0; k < num_labels * num_labels; ++k) {
      const std::size_t pair = (draw + k) % (num_labels * num_labels);
      if (take_pair(cell, group, pair / num_labels, pair % num_labels, draft, found)) return true;
    }
    return false;
  };
  const auto take_of_chunk = [&](std::uint64_t first, std::uint64_t count) {
    std::uint64_t i = 0;
    while (i < count && !take_group(first + i, key >> 33)) ++i;
    return i;
  };
  return searches.of_all.find(index_.summary().num_groups, key, take_group, take_of_chunk);
}

bool LaneStream::take_pair(const Cell& cell, std::uint32_t group, std::size_t query,
                           std::size_t passage, Draft& draft, Example& found) const {
  const Label x = index_.labels(cell, group)[query], y = index_.labels(cell, group)[passage];
  if ((query == passage) != same_row_) return false;
  if (!(x.uses() & (same_row_ ? kMixedExample : kCrossQuery))) return false;
  if (!(y.uses() & (same_row_ ? kMixedExample : kCrossPassage))) return false;
  const auto lane = lanes_.find(x.language(), y.language(), cell.source);
  if (!lane || cycle_.shares()[*lane] == 0) return false;
  const std::uint32_t entry = index_.first_entry(cell, group);
  return take_any_turn({group, entry + static_cast<std::uint32_t>(query),
                        entry + static_cast<std::uint32_t>(passage)},
                       draft, found);
}

std::vector<Share> LaneStream::shares() const {
  double total = std::accumulate(asked_.begin(), asked_.end(), 0.0);
  for (const Share& share : unserved_) total += share.asked;
  std::vector<Share> shares;
  for (std::size_t k = 0; k < lanes_.size(); ++k) {
    const Lane& lane = lanes_[k];
    shares.push_back({lane.pair.query_language, lane.pair.passage_language, lane.source, lane.size,
                      capacities_.empty() ? lane.size : capacities_[k], asked_[k] / total,
                      cycle_.shares()[k]});
  }
  for (Share share : unserved_) {
    share.asked /= total;
    shares.push_back(share);
  }
  return shares;
}

}  // namespace hybrid_fast
