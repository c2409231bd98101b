#include "core/cycle.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <queue>
#include <tuple>

#include "core/random.h"

namespace hybrid_fast {
namespace {

constexpr std::uint32_t kCycleLength = 4096;
constexpr std::uint32_t kTurnsPerChild = 16;
constexpr std::size_t kShuffled = 256;

// Whole turns for `length` positions, by largest remainder, at least one for each positive weight.
// REQUIRES: length >= number of positive weights
std::vector<std::uint32_t> apportion(const std::vector<double>& weights, std::uint32_t length) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<std::uint32_t> turns(weights.size());
  std::vector<std::pair<double, std::uint32_t>> remainders;
  std::int64_t left = length;
  for (std::uint32_t i = 0; i < weights.size(); ++i) {
    if (weights[i] <= 0) continue;
    const double ideal = weights[i] / total * length;
    turns[i] = std::max<std::uint32_t>(1, static_cast<std::uint32_t>(ideal));
    remainders.emplace_back(ideal - turns[i], i);
    left -= turns[i];
  }
  std::sort(remainders.begin(), remainders.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  for (std::size_t k = 0; left > 0; k = (k + 1) % remainders.size(), --left) {
    ++turns[remainders[k].second];
  }
  // The minimum of one turn may have overdrawn: the largest give back.
  while (left < 0) {
    --*std::max_element(turns.begin(), turns.end());
    ++left;
  }
  return turns;
}

}  // namespace

Cycle::Cycle(const std::vector<double>& weights, std::uint64_t key)
    : key_(key), shares_(weights.size(), 0.0) {
  for (std::uint32_t i = 0; i < weights.size(); ++i) {
    if (weights[i] > 0) children_.push_back(i);
  }
  if (children_.empty()) return;
  const double first = weights[children_.front()];
  if (std::all_of(children_.begin(), children_.end(),
                  [&](std::uint32_t i) { return weights[i] == first; })) {
    for (std::uint32_t i : children_) shares_[i] = 1.0 / static_cast<double>(children_.size());
    return;
  }
  const auto length = std::max<std::uint32_t>(
      kCycleLength, kTurnsPerChild * static_cast<std::uint32_t>(children_.size()));
  turns_ = apportion(weights, length);
  for (std::uint32_t i : children_) shares_[i] = static_cast<double>(turns_[i]) / length;
  schedule(length);
}

void Cycle::schedule(std::uint32_t length) {
  using Release = std::pair<std::uint64_t, std::uint32_t>;              // position, child
  using Job = std::tuple<std::uint64_t, std::uint64_t, std::uint32_t>;  // deadline, tie, child
  std::priority_queue<Release, std::vector<Release>, std::greater<>> waiting;
  std::priority_queue<Job, std::vector<Job>, std::greater<>> ready;
  std::vector<std::uint32_t> done(turns_.size(), 0);
  // Equal deadlines are served in a seeded order.
  const Permutation tie(turns_.size(), key_);
  for (std::uint32_t child : children_) waiting.emplace(0, child);
  for (std::uint32_t position = 0; position < length; ++position) {
    while (!waiting.empty() && waiting.top().first <= position) {
      const std::uint32_t child = waiting.top().second;
      waiting.pop();
      const std::uint64_t next = std::uint64_t{done[child]} + 1;
      ready.emplace((next * length + turns_[child] - 1) / turns_[child], tie(child), child);
    }
    const std::uint32_t child = std::get<2>(ready.top());
    ready.pop();
    sequence_.push_back(child);
    earlier_.push_back(done[child]++);
    if (done[child] < turns_[child]) {
      waiting.emplace(std::uint64_t{done[child]} * length / turns_[child], child);
    }
  }
}

std::uint64_t Cycle::most_turns(std::uint32_t child, std::uint64_t length) const {
  return std::min<std::uint64_t>(
      length,
      static_cast<std::uint64_t>(std::ceil(shares_[child] * static_cast<double>(length))) + 2);
}

Cycle::Turn Cycle::at(std::uint64_t position) const {
  Turn turn;
  draw(position, std::span(&turn, 1));
  return turn;
}

void Cycle::draw(std::uint64_t position, std::span<Turn> turns) const {
  const std::uint64_t length = sequence_.empty() ? children_.size() : sequence_.size();
  std::uint64_t round = position / length, i = position % length;
  for (; !turns.empty(); i = 0, ++round) {
    const auto part = turns.first(std::min<std::uint64_t>(turns.size(), length - i));
    if (sequence_.empty()) {
      draw_round(round, i, part);
    } else {
      for (Turn& turn : part) {
        const std::uint32_t child = sequence_[i];
        turn = {child, round * turns_[child] + earlier_[i++]};
      }
    }
    turns = turns.subspan(part.size());
  }
}

void Cycle::draw_round(std::uint64_t round, std::uint64_t first, std::span<Turn> turns) const {
  const std::uint64_t key = derive(key_, round);
  if (children_.size() > kShuffled) {
    const Permutation order(children_.size(), key);
    for (Turn& turn : turns) turn = {children_[order(first++)], round};
    return;
  }
  // Few children are shuffled whole (Fisher and Yates), which costs less than to permute each.
  std::array<std::uint32_t, kShuffled> order;
  std::copy(children_.begin(), children_.end(), order.begin());
  for (std::uint64_t i = 0; i < first + turns.size(); ++i) {
    const std::uint64_t left = children_.size() - i;
    std::swap(order[i], order[i + ((mix(key + i) >> 32) * left >> 32)]);
    if (i >= first) turns[i - first] = {order[i], round};
  }
}

}  // namespace hybrid_fast
