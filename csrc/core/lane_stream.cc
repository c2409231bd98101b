#include "core/lane_stream.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>

#include "core/order.h"
#include "core/random.h"

namespace hybrid_fast {

LaneStream::LaneStream(const Columns& columns, const Groups& groups, const PlanOptions& options,
                       bool same_row)
    : groups_(groups),
      batch_size_(options.batch_size),
      key_(derive(options.seed, same_row ? 'x' : 'c')),
      single_pair_(options.single_pair),
      index_(columns, groups, same_row, options.source_weights) {
  ask(columns, options);
  weigh_lanes();
  if (largest_batch_ < batch_size_) return;
  const std::vector<double>& shares = cycle_.shares();
  for (std::uint32_t lane = 0; lane < shares.size(); ++lane) {
    // In a large lane the end of a pass and the start of the next hardly ever share a group.
    constexpr std::uint64_t kLarge = 16;
    const std::uint64_t window = cycle_.most_turns(lane, batch_size_);
    windows_.push_back(
        index_.lanes()[lane].size >= kLarge * window ? 1 : std::max<std::uint64_t>(window, 1));
    lane_keys_.push_back(derive(key_, lane));
  }
  const bool alike =
      std::adjacent_find(shares.begin(), shares.end(), std::not_equal_to<>()) == shares.end();
  complete_ = index_.complete() && alike && !single_pair_;
  if (!complete_) return;
  for (std::uint32_t lane = 0; lane < shares.size(); ++lane) {
    lane_order_.push_back(
        static_cast<std::uint32_t>(Permutation(shares.size(), derive(key_, 'o'))(lane)));
  }
  shift_period_ = std::lcm(index_.num_groups(), std::uint64_t{shares.size()});
}

void LaneStream::ask(const Columns& columns, const PlanOptions& options) {
  // Groups and source weights of each pair, over its lanes.
  std::map<std::pair<std::int32_t, std::int32_t>, std::pair<std::uint64_t, double>> pairs;
  for (const Lane& lane : index_.lanes()) {
    auto& [size, source_weight] = pairs[{lane.query_language, lane.passage_language}];
    size += lane.size;
    source_weight += lane.source < 0 ? 1.0 : options.source_weights[lane.source];
  }
  for (const Lane& lane : index_.lanes()) {
    const std::int32_t x = lane.query_language, y = lane.passage_language;
    const auto& [size, source_weight] = pairs[{x, y}];
    double weight = power_law(size, options.exponent);
    if (!options.pair_weights.empty()) {
      weight = options.pair_weights[std::size_t(x) * columns.num_languages + y];
    } else if (!options.language_weights.empty()) {
      weight = options.language_weights[x] * (x == y ? 1.0 : options.language_weights[y]);
    }
    if (lane.source >= 0) weight *= options.source_weights[lane.source] / source_weight;
    asked_.push_back(weight);
  }
  for (std::size_t i = 0; i < options.pair_weights.size(); ++i) {
    const auto x = static_cast<std::int32_t>(i / columns.num_languages);
    const auto y = static_cast<std::int32_t>(i % columns.num_languages);
    if (options.pair_weights[i] > 0 && !pairs.contains({x, y})) {
      unserved_.push_back({x, y, -1, 0, 0, options.pair_weights[i], 0.0});
    }
  }
}

void LaneStream::weigh_lanes() {
  std::vector<std::uint32_t> wanted;
  for (std::uint32_t lane = 0; lane < asked_.size(); ++lane) {
    if (asked_[lane] > 0) wanted.push_back(lane);
  }
  std::vector<double> weights = asked_;
  if (single_pair_) {
    capacities_.resize(asked_.size(), 0);
    for (std::uint32_t lane : wanted) {
      capacities_[lane] = index_.capacity(std::span(&lane, 1), groups_);
      largest_batch_ = std::max(largest_batch_, capacities_[lane]);
      if (capacities_[lane] < batch_size_) weights[lane] = 0;
    }
  } else {
    largest_batch_ = index_.capacity(wanted, groups_);
    if (largest_batch_ >= batch_size_) lower_crowded_lanes(weights);
  }
  cycle_ = Cycle(weights, derive(key_, 'l'));
}

void LaneStream::lower_crowded_lanes(std::vector<double>& weights) const {
  // Lanes cut once stay at what they may serve; the rest share what is left by their weights.
  constexpr int kMostRounds = 100;
  std::vector<bool> cut(weights.size(), false);
  for (int round = 0; round < kMostRounds; ++round) {
    double weight_left = 0, examples_left = static_cast<double>(batch_size_);
    for (std::size_t lane = 0; lane < weights.size(); ++lane) {
      if (cut[lane]) {
        examples_left -= weights[lane];
      } else {
        weight_left += weights[lane];
      }
    }
    if (weight_left <= 0) return;
    std::vector<double> examples(weights);  // a batch
    for (std::size_t lane = 0; lane < weights.size(); ++lane) {
      if (!cut[lane]) examples[lane] *= examples_left / weight_left;
    }
    const std::vector<double> allowed = index_.uncrowded(examples);
    const bool crowded = allowed != examples;
    // Untouched weights stay as they were given, so that equal ones stay exactly equal.
    if (crowded || round > 0) weights = allowed;
    if (!crowded) return;
    for (std::size_t lane = 0; lane < weights.size(); ++lane) {
      if (allowed[lane] != examples[lane]) cut[lane] = true;
    }
  }
}

void LaneStream::plan(std::uint64_t index, Draft& draft) const {
  thread_local std::vector<Slot> slots;
  slots.resize(batch_size_);
  const std::uint64_t first = index * batch_size_;
  if (single_pair_) {
    draw_single_pair(index, slots);
  } else if (complete_) {
    draw_complete(first, slots);
  } else {
    draw_balanced(first, slots);
  }
  const bool conflicts = !complete_ || !groups_.shared_passages.empty();
  // From a random slot on, so that of two entries that may not meet each gets its chance.
  const std::uint64_t start = conflicts ? derive(key_, ~index) % batch_size_ : 0;
  for (std::uint64_t k = 0; k < batch_size_; ++k) {
    const std::uint64_t i = start + k < batch_size_ ? start + k : start + k - batch_size_;
    Example example = index_.example(slots[i].place, slots[i].turn);
    if (conflicts && !accept(draft, example)) {
      example = substitute(slots[i].lane, first + i, draft);
    }
    draft.query_rows[i] = example.query_row;
    draft.passage_rows[i] = example.passage_row;
  }
}

void LaneStream::draw_complete(std::uint64_t n, std::span<Slot> slots) const {
  const std::uint64_t num_groups = index_.num_groups();
  while (!slots.empty()) {
    const std::uint64_t first = n % num_groups;
    const std::uint64_t count = std::min<std::uint64_t>(slots.size(), num_groups - first);
    draw_pass(n / num_groups, first, slots.first(count));
    slots = slots.subspan(count);
    n += count;
  }
}

void LaneStream::draw_pass(std::uint64_t pass, std::uint64_t first, std::span<Slot> slots) const {
  const std::uint64_t num_groups = index_.num_groups();
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
      slots[s] = {lane, index_.locate(lane, group), row_turn(group, pass / num_lanes)};
    }
  }
}

void LaneStream::draw_balanced(std::uint64_t n, std::span<Slot> slots) const {
  thread_local std::vector<Cycle::Turn> turns;
  turns.resize(slots.size());
  cycle_.draw(n, turns);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto [lane, index] = turns[i];
    slots[i] = slot_at(lane, index, windows_[lane]);
  }
}

void LaneStream::draw_single_pair(std::uint64_t index, std::span<Slot> slots) const {
  const auto [lane, turn] = cycle_.at(index);
  const bool aligned = index_.lanes()[lane].size % batch_size_ == 0;
  std::uint64_t position = turn * batch_size_;
  for (Slot& slot : slots) slot = slot_at(lane, position++, aligned ? 1 : batch_size_);
}

LaneStream::Slot LaneStream::slot_at(std::uint32_t lane, std::uint64_t position,
                                     std::uint64_t window) const {
  const std::uint64_t size = index_.lanes()[lane].size;
  const std::uint64_t pass = position / size;
  const std::uint64_t i = PassOrder(size, window, lane_keys_[lane], pass)(position % size);
  return {lane, index_.locate(lane, i), row_turn(i, pass)};
}

std::uint64_t LaneStream::row_turn(std::uint64_t i, std::uint64_t pass) const {
  return index_.has_alternatives() ? pass + (mix(key_ ^ i) >> 33) : 0;
}

bool LaneStream::accept(Draft& draft, const Example& example) const {
  const std::uint32_t passage = groups_.shared_passage(example.passage_row);
  const std::uint32_t own = groups_.shared_passage(example.query_row);
  return draft.taken.add(example.group, own == passage ? 0 : own, passage);
}

Example LaneStream::substitute(std::uint32_t wanted, std::uint64_t n, Draft& draft) const {
  const auto num_lanes = static_cast<std::uint32_t>(index_.lanes().size());
  const std::uint64_t key = derive(derive(key_, 's'), n);
  Example found{};
  const auto serves = [&](std::uint32_t lane) {
    return find_free(index_.lanes()[lane].size, key, [&](std::uint64_t i, std::uint64_t draw) {
      const GroupIndex::Place place = index_.locate(lane, i);
      const std::uint64_t num_turns = index_.num_turns(place);
      for (std::uint64_t turn = 0; turn < num_turns; ++turn) {
        found = index_.example(place, (draw + turn) % num_turns);
        if (accept(draft, found)) return true;
      }
      return false;
    });
  };
  if (serves(wanted)) {
    ++draft.info.substituted_entries;
    return found;
  }
  // In a single-pair batch no other pair may step in.
  for (std::uint32_t k = 0; k < num_lanes && !single_pair_; ++k) {
    const auto lane = static_cast<std::uint32_t>((key + k) % num_lanes);
    if (cycle_.shares()[lane] == 0 || !serves(lane)) continue;
    ++draft.info.substituted_lanes;
    return found;
  }
  // Capacity is a lower bound of every maximal batch, so a free example always exists.
  throw std::logic_error("batch could not be filled; this is a defect of hybrid_fast");
}

std::vector<Share> LaneStream::shares() const {
  double total = std::accumulate(asked_.begin(), asked_.end(), 0.0);
  for (const Share& share : unserved_) total += share.asked;
  std::vector<Share> shares;
  for (std::size_t k = 0; k < index_.lanes().size(); ++k) {
    const Lane& lane = index_.lanes()[k];
    shares.push_back({lane.query_language, lane.passage_language, lane.source, lane.size,
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
