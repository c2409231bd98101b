// Cycles keep every child within one of its share over any prefix, and number its turns in order.
#include "core/cycle.h"

#include <cmath>
#include <vector>

#include "tests/check.h"

using namespace hybrid_fast;

namespace {

void CheckBalance(const std::vector<double>& weights, std::uint64_t key) {
  const Cycle cycle(weights, key);
  std::vector<std::uint64_t> turns(weights.size());
  for (std::uint64_t position = 0; position < 20000; ++position) {
    const Cycle::Turn turn = cycle.at(position);
    CHECK(weights[turn.child] > 0);
    CHECK(turn.index == turns[turn.child]++);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const double ideal = cycle.shares()[i] * static_cast<double>(position + 1);
      CHECK(std::abs(static_cast<double>(turns[i]) - ideal) < 1 + 1e-6);
    }
  }
}

void Balance() {
  CheckBalance({1.0}, 3);
  CheckBalance({1.0, 1.0, 1.0}, 3);
  CheckBalance({1.0, 0.0, 2.0, 3.5}, 4);
  CheckBalance({1000.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0}, 5);
  std::vector<double> steep;
  for (int i = 0; i < 90; ++i) steep.push_back(std::pow(1.07, i));
  CheckBalance(steep, 6);
}

void SharesFollowWeights() {
  const Cycle cycle({1.0, 3.0}, 1);
  CHECK(std::abs(cycle.shares()[0] - 0.25) < 1e-3);
  CHECK(std::abs(cycle.shares()[1] - 0.75) < 1e-3);
}

void AllZeroIsEmpty() { CHECK(Cycle({0.0, 0.0}, 1).empty()); }

void MostTurnsBoundsEveryWindow() {
  const Cycle cycle({1.0, 2.0, 4.0}, 9);
  for (std::uint64_t first = 0; first < 5000; ++first) {
    std::vector<std::uint64_t> turns(3);
    for (std::uint64_t n = first; n < first + 50; ++n) ++turns[cycle.at(n).child];
    for (std::uint32_t i = 0; i < 3; ++i) CHECK(turns[i] <= cycle.most_turns(i, 50));
  }
}

}  // namespace

int main() {
  Balance();
  SharesFollowWeights();
  AllZeroIsEmpty();
  MostTurnsBoundsEveryWindow();
}
