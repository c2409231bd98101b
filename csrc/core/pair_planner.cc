#include "core/pair_planner.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/crowding.h"
#include "core/order.h"
#include "core/pair_capacity.h"
#include "core/random.h"

namespace hybrid_fast {

PairPlanner::PairPlanner(const PlanIndex& index, const PlanOptions& options, bool same_row)
    : index_(index),
      same_row_(same_row),
      batch_size_(options.batch_size),
      key_(derive(options.seed, same_row ? 'x' : 'c')),
      single_pair_(options.single_pair),
      streams_(index, same_row, options.source_weights) {
  ask(options);
  weigh_streams();
  if (largest_batch_ < batch_size_) return;
  for (std::uint32_t stream = 0; stream < streams_.size(); ++stream) {
    // In a large stream the end of a pass and the start of the next hardly ever share a group.
    constexpr std::uint64_t kLarge = 16;
    const std::uint64_t window = std::max<std::uint64_t>(1, cycle_.most_turns(stream, batch_size_));
    windows_.push_back(streams_[stream].size >= kLarge * window ? 1 : window);
    stream_keys_.push_back(derive(key_, stream));
  }
  complete_ = !single_pair_ && alike();
  if (!complete_) return;
  const Permutation order(streams_.size(), derive(key_, 'o'));
  for (std::uint32_t stream = 0; stream < streams_.size(); ++stream) {
    stream_order_.push_back(static_cast<std::uint32_t>(order(stream)));
  }
  shift_period_ = std::lcm(std::uint64_t{streams_[0].size}, std::uint64_t{streams_.size()});
}

bool PairPlanner::alike() const {
  const auto cells = [&](const PairStream& stream) {
    return index_.arrays().spans.subspan(stream.pair.first_span, stream.pair.num_spans);
  };
  const PairStream& first = streams_[0];
  for (std::uint32_t k = 0; k < streams_.size(); ++k) {
    const bool same_groups =
        streams_[k].begin == first.begin && streams_[k].size == first.size &&
        std::ranges::equal(cells(streams_[k]), cells(first), [&](const Span& a, const Span& b) {
          return a.cell == b.cell && !index_.arrays().cells[a.cell].mixed();
        });
    if (!same_groups || cycle_.shares()[k] != cycle_.shares()[0]) return false;
  }
  return true;
}

void PairPlanner::ask(const PlanOptions& options) {
  // Groups and source weights of each pair, over its streams.
  std::map<std::pair<std::int32_t, std::int32_t>, std::pair<std::uint64_t, double>> pairs;
  for (const PairStream& stream : streams_) {
    auto& [size, source_weight] = pairs[{stream.pair.query_language, stream.pair.passage_language}];
    size += stream.size;
    source_weight += stream.source < 0 ? 1.0 : options.source_weights[stream.source];
  }
  const auto num_languages = static_cast<std::size_t>(index_.summary().num_languages);
  for (const PairStream& stream : streams_) {
    const std::int32_t x = stream.pair.query_language, y = stream.pair.passage_language;
    const auto& [size, source_weight] = pairs[{x, y}];
    double weight = weight_by_size(size, options.exponent);
    if (!options.pair_weights.empty()) {
      weight = options.pair_weights[x * num_languages + y];
    } else if (!options.language_weights.empty()) {
      weight = options.language_weights[x] * (x == y ? 1.0 : options.language_weights[y]);
    }
    if (stream.source >= 0) weight *= options.source_weights[stream.source] / source_weight;
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

void PairPlanner::weigh_streams() {
  std::vector<double> weights = asked_;
  if (single_pair_) {
    PairCapacity capacity(index_, same_row_);
    for (std::uint32_t k = 0; k < streams_.size(); ++k) {
      const PairStream& stream = streams_[k];
      capacities_.push_back(asked_[k] > 0 ? capacity(stream.pair, stream.begin, stream.size) : 0);
      largest_batch_ = std::max(largest_batch_, capacities_.back());
      if (capacities_.back() < batch_size_) weights[k] = 0;
    }
  } else {
    largest_batch_ = capacity();
    if (largest_batch_ >= batch_size_) {
      weights = uncrowded(index_, streams_, same_row_, batch_size_, std::move(weights));
    }
  }
  cycle_ = Cycle(weights, derive(key_, 'l'));
}

std::uint64_t PairPlanner::capacity() const {
  const bool all = std::ranges::all_of(asked_, [](double weight) { return weight > 0; });
  if (all && !streams_.empty() && streams_[0].source < 0) {
    return same_row_ ? index_.summary().mixed_capacity : index_.summary().cross_capacity;
  }
  return pair_capacity(index_, same_row_, [&](std::int32_t x, std::int32_t y, std::int32_t source) {
    const auto stream = streams_.find(x, y, source);
    return stream && asked_[*stream] > 0;
  });
}

void PairPlanner::plan(std::uint64_t index, Draft& draft) const {
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
    const PairStream& stream = streams_[slots[i].stream];
    requests[i] = {&stream.pair, stream.begin + slots[i].entry};
  }
  index_.locate(requests, places);
  const bool conflicts = !complete_ || index_.shares_texts();
  // From a random slot on, so that of two entries that may not share a batch each gets its chance.
  const std::uint64_t start = conflicts ? derive(key_, ~index) % batch_size_ : 0;
  std::vector<std::uint64_t> refused;
  for (std::uint64_t k = 0; k < batch_size_; ++k) {
    const std::uint64_t i = start + k < batch_size_ ? start + k : start + k - batch_size_;
    const Example example = index_.example(places[i], slots[i].turn, same_row_);
    draft.query_rows[i] = example.query_row;
    draft.passage_rows[i] = example.passage_row;
    if (conflicts && !accept(index_, example, draft)) refused.push_back(i);
  }
  PairSearch search(index_, streams_, cycle_.shares(), same_row_, draft);
  for (std::uint64_t i : refused) {
    const std::uint64_t key = derive(derive(key_, 's'), first + i);
    const Example example = substitute(slots[i].stream, key, search, draft);
    draft.query_rows[i] = example.query_row;
    draft.passage_rows[i] = example.passage_row;
  }
}

void PairPlanner::draw_complete(std::uint64_t n, std::span<Slot> slots) const {
  const std::uint64_t num_groups = streams_[0].size;
  while (!slots.empty()) {
    const std::uint64_t first = n % num_groups;
    const std::uint64_t count = std::min<std::uint64_t>(slots.size(), num_groups - first);
    draw_pass(n / num_groups, first, slots.first(count));
    slots = slots.subspan(count);
    n += count;
  }
}

void PairPlanner::draw_pass(std::uint64_t pass, std::uint64_t first, std::span<Slot> slots) const {
  const std::uint64_t num_groups = streams_[0].size;
  const std::uint64_t num_streams = stream_order_.size();
  const std::uint64_t smallest_class = num_groups / num_streams;
  const std::uint64_t num_larger_classes = num_groups % num_streams;
  // Where no batch reaches over the end of a pass, passes need not mind one another.
  const bool aligned = num_groups % batch_size_ == 0;
  const std::uint64_t window = aligned ? 1 : (batch_size_ + num_streams - 1) / num_streams + 1;
  const std::uint64_t n = pass * num_groups + first;
  // Slots of one residue class share their stream and order; groups of a class lie side by side, so
  // that neighbours in the table, which may share a passage, are drawn far apart.
  for (std::uint64_t k = 0; k < std::min<std::uint64_t>(num_streams, slots.size()); ++k) {
    const std::uint64_t residue = (first + k) % num_streams;
    const std::uint32_t stream = stream_order_[(n + k + n / shift_period_) % num_streams];
    const std::uint64_t class_size = smallest_class + (residue < num_larger_classes ? 1 : 0);
    const std::uint64_t class_begin =
        residue * smallest_class + std::min(residue, num_larger_classes);
    const PassOrder order(class_size, window, derive(key_, residue), pass);
    std::uint64_t i = (first + k) / num_streams;
    for (std::uint64_t s = k; s < slots.size(); s += num_streams) {
      const std::uint64_t group = class_begin + order(i++);
      slots[s] = {stream, static_cast<std::uint32_t>(group), row_turn(group, pass / num_streams)};
    }
  }
}

void PairPlanner::draw_balanced(std::uint64_t n, std::span<Slot> slots) const {
  thread_local std::vector<Cycle::Turn> turns;
  thread_local std::vector<Pass> passes;  // by stream: the one that its last slot was in
  turns.resize(slots.size());
  cycle_.draw(n, turns);
  // Where streams come up but once a batch there is nothing to keep.
  const bool once = streams_.size() > slots.size();
  passes.assign(once ? 0 : streams_.size(), Pass{});
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto [stream, position] = turns[i];
    if (once || windows_[stream] > 1) {
      slots[i] = slot_at(stream, position, windows_[stream]);
      continue;
    }
    const std::uint64_t size = streams_[stream].size;
    Pass& pass = passes[stream];
    if (position - pass.begin >= size || !pass.order) {
      const std::uint64_t number = position / size;
      pass = {number * size, number, Permutation(size, derive(stream_keys_[stream], number))};
    }
    const std::uint64_t entry = (*pass.order)(position - pass.begin);
    slots[i] = {stream, static_cast<std::uint32_t>(entry), row_turn(entry, pass.number)};
  }
}

void PairPlanner::draw_single_pair(std::uint64_t index, std::span<Slot> slots) const {
  const auto [stream, turn] = cycle_.at(index);
  const bool aligned = streams_[stream].size % batch_size_ == 0;
  std::uint64_t position = turn * batch_size_;
  for (Slot& slot : slots) slot = slot_at(stream, position++, aligned ? 1 : batch_size_);
}

PairPlanner::Slot PairPlanner::slot_at(std::uint32_t stream, std::uint64_t position,
                                       std::uint64_t window) const {
  const std::uint64_t size = streams_[stream].size;
  const std::uint64_t pass = position / size;
  const std::uint64_t i = PassOrder::at(size, window, stream_keys_[stream], position);
  return {stream, static_cast<std::uint32_t>(i), row_turn(i, pass)};
}

std::uint64_t PairPlanner::row_turn(std::uint64_t i, std::uint64_t pass) const {
  return index_.has_alternatives() ? pass + (mix(key_ ^ i) >> 33) : 0;
}

Example PairPlanner::substitute(std::uint32_t stream, std::uint64_t key, PairSearch& search,
                                Draft& draft) const {
  if (const auto example = search.find_in_stream(stream, key)) {
    ++draft.info.substituted_entries;
    return *example;
  }
  // In a single-pair batch no other pair may step in.
  if (!single_pair_) {
    if (const auto example = search.find_anywhere(key)) {
      ++draft.info.substituted_streams;
      return *example;
    }
  }
  // Capacity is a lower bound of every maximal batch, so a free example always exists.
  throw std::logic_error("batch could not be filled; this is a bug in hybrid_fast");
}

std::vector<Share> PairPlanner::shares() const {
  double total = std::accumulate(asked_.begin(), asked_.end(), 0.0);
  for (const Share& share : unserved_) total += share.asked;
  std::vector<Share> shares;
  for (std::size_t k = 0; k < streams_.size(); ++k) {
    const PairStream& stream = streams_[k];
    shares.push_back({stream.pair.query_language, stream.pair.passage_language, stream.source,
                      stream.size, capacities_.empty() ? stream.size : capacities_[k],
                      asked_[k] / total, cycle_.shares()[k]});
  }
  for (Share share : unserved_) {
    share.asked /= total;
    shares.push_back(share);
  }
  return shares;
}

}  // namespace hybrid_fast
