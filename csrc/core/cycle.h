// A balanced endless sequence over weighted children (languages, pairs, sources).
//
// Over any prefix each child comes up within one of its share; over any run, within two.
// Equal weights: rounds, each a fresh permutation of the children. Other weights: one fixed cycle
// of kCycleLength positions or more, in which the k-th turn of a child with c turns of C lies in
// [floor(k C / c), ceil((k+1) C / c)), scheduled earliest deadline first (Steiner and Yeomans 1993:
// such a schedule exists and deviates by less than one).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hybrid_fast {

class Cycle {
 public:
  struct Turn {
    std::uint32_t child;
    std::uint64_t index;  // how often this child has come up before
  };

  Cycle() = default;
  // REQUIRES: finite weights >= 0. Children of weight 0 never come up.
  Cycle(const std::vector<double>& weights, std::uint64_t key);

  bool empty() const { return children_.empty(); }
  // The part of all turns that each child gets; size of the weights given.
  const std::vector<double>& shares() const { return shares_; }
  // Most turns a child can have within `length` consecutive positions.
  std::uint64_t most_turns(std::uint32_t child, std::uint64_t length) const;
  // REQUIRES: !empty()
  Turn at(std::uint64_t position) const;
  // Writes the turns of consecutive positions from `position` on. REQUIRES: !empty()
  void draw(std::uint64_t position, std::span<Turn> turns) const;

 private:
  void schedule(std::uint32_t length);  // turns_ -> sequence_, earlier_
  // Equal weights: turns of one round from its position `first` on.
  void draw_round(std::uint64_t round, std::uint64_t first, std::span<Turn> turns) const;

  std::uint64_t key_ = 0;
  std::vector<std::uint32_t> children_;  // those of positive weight
  std::vector<double> shares_;
  // Only for unequal weights:
  std::vector<std::uint32_t> sequence_;  // child at each position of the cycle
  std::vector<std::uint32_t> earlier_;   // its turns before that position, within the cycle
  std::vector<std::uint32_t> turns_;     // turns of each child in one cycle
};

}  // namespace hybrid_fast
