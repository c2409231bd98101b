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
  const std::vector<double>& shares = cycle_.shares();
  for (std::uint32_t lane = 0; lane < shares.size(); ++lane) {
    windows_.push_back(cycle_.most_turns(lane, batch_size_));
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
}

void LaneStream::weigh_lanes() {
  std::vector<std::uint32_t> wanted;
  for (std::uint32_t lane = 0; lane < asked_.size(); ++lane) {
    if (asked_[lane] > 0) wanted.push_back(lane);
  }
  std::vector<double> weights = asked_;
  std::uint64_t largest = 0;
  if (single_pair_) {
    for (std::uint32_t lane : wanted) {
      const std::uint64_t capacity = index_.capacity(std::span(&lane, 1), groups_);
      largest = std::max(largest, capacity);
      if (capacity < batch_size_) weights[lane] = 0;
    }
  } else {
    largest = index_.capacity(wanted, groups_);
  }
  if (largest < batch_size_) {
    throw std::invalid_argument(
        "no " + std::string(index_.same_row() ? "mixed" : "cross") + " batch of " +
        std::to_string(batch_size_) + " can be filled with different groups and passages" +
        (single_pair_ ? " of one pair" : "") + "; the largest batch_size that works is " +
        std::to_string(largest));
  }
  if (!single_pair_) lower_crowded_lanes(weights);
  cycle_ = Cycle(weights, derive(key_, 'l'));
}

void LaneStream::lower_crowded_lanes(std::vector<double>& weights) const {
  // Lanes cut once stay at what they may serve; the rest share what is left by their weights.
  constexpr int kMostRounds = 100;
  std::vector<bool> cut(weights.size(), false);
  for (int round = 0; round < kMostRounds; ++round) {
    double weight_left = 0, examples_left = static_cast<double>(batch_size_);
    for (std::size_t lane = 0; lane < weights.size(); ++lane) {
      (cut[lane] ? examples_left : weight_left) += cut[lane] ? -weights[lane] : weights[lane];
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
  for (std::uint64_t i = 0; i < batch_size_; ++i) {
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
  const std::uint64_t num_lanes = lane_order_.size();
  const std::uint64_t window = (batch_size_ + num_lanes - 1) / num_lanes + 1;
  const std::uint64_t smallest_class = num_groups / num_lanes;
  const std::uint64_t num_larger_classes = num_groups % num_lanes;
  // n in mixed radix, counted up instead of divided anew for every slot.
  std::uint64_t pass = n / num_groups, place = n % num_groups;
  std::uint64_t residue = place % num_lanes, i = place / num_lanes;
  std::uint64_t period = n % shift_period_, lane = (n + n / shift_period_) % num_lanes;
  for (Slot& slot : slots) {
    const std::uint64_t class_size = smallest_class + (residue < num_larger_classes ? 1 : 0);
    const PassOrder order(class_size, window, key_ + residue * 0x9E3779B97F4A7C15u, pass);
    const std::uint64_t group = residue + num_lanes * order(i);
    slot.lane = lane_order_[lane];
    slot.place = index_.locate(slot.lane, group);
    slot.turn = row_turn(group, pass / num_lanes);
    if (++residue == num_lanes) residue = 0, ++i;
    if (++place == num_groups) place = residue = i = 0, ++pass;
    if (++lane == num_lanes) lane = 0;
    if (++period == shift_period_) {
      period = 0;
      if (++lane == num_lanes) lane = 0;
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
  std::uint64_t position = turn * batch_size_;
  for (Slot& slot : slots) slot = slot_at(lane, position++, batch_size_);
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

Example LaneStream::substitute(std::uint32_t first_lane, std::uint64_t n, Draft& draft) const {
  const auto num_lanes = static_cast<std::uint32_t>(index_.lanes().size());
  Example found{};
  for (std::uint32_t k = 0; k < num_lanes; ++k) {
    const std::uint32_t lane = (first_lane + k) % num_lanes;
    // In a single-pair batch no other pair may step in.
    if (k > 0 && (single_pair_ || cycle_.shares()[lane] == 0)) continue;
    if (!find_free(lane, n, draft, found)) continue;
    ++(k == 0 ? draft.info.substituted_entries : draft.info.substituted_lanes);
    return found;
  }
  // Capacity is a lower bound of every maximal batch, so a free example always exists.
  throw std::logic_error("batch could not be filled; this is a defect of hybrid_fast");
}

bool LaneStream::find_free(std::uint32_t lane, std::uint64_t n, Draft& draft,
                           Example& found) const {
  const std::uint64_t size = index_.lanes()[lane].size;
  const std::uint64_t key = derive(derive(key_, 's'), n);
  for (std::uint64_t attempt = 0; attempt < kTries; ++attempt) {
    const std::uint64_t draw = derive(key, attempt);
    found = index_.example(index_.locate(lane, draw % size), draw >> 33);
    if (accept(draft, found)) return true;
  }
  for (std::uint64_t i = 0; i < size; ++i) {
    found = index_.example(index_.locate(lane, (key + i) % size), key >> 33);
    if (accept(draft, found)) return true;
  }
  return false;
}

std::vector<Share> LaneStream::shares() const {
  const double total = std::accumulate(asked_.begin(), asked_.end(), 0.0);
  std::vector<Share> shares;
  for (std::size_t k = 0; k < index_.lanes().size(); ++k) {
    const Lane& lane = index_.lanes()[k];
    shares.push_back({lane.query_language, lane.passage_language, lane.source, lane.size,
                      asked_[k] / total, cycle_.shares()[k]});
  }
  return shares;
}

}  // namespace hybrid_fast
