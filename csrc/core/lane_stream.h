// Cross and mixed batches: an endless sequence of slots, each a lane (query language, passage
// language) and one of its groups; a batch is the next batch_size slots.
//
// Complete tables (every group in every lane, all lanes alike): with G groups and P lanes, slot n
// serves lane (n + n div lcm(G, P)) mod P and a group of residue class (n mod G) mod P. G slots use
// every group once, P such passes use every group once in every lane, and no batch repeats a group.
// Other tables: the lane from a balanced cycle, its entry from the lane's own order; an entry whose
// group or passage the batch already holds is substituted by a free one of the lane.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/cycle.h"
#include "core/lane.h"
#include "core/plan_index.h"
#include "core/plan_options.h"
#include "core/random.h"

namespace hybrid_fast {

class LaneStream {
 public:
  // `same_row`: mixed batches, else cross. `index` must outlive the stream.
  LaneStream(const PlanIndex& index, const PlanOptions& options, bool same_row);

  // The largest batch that the lanes of positive weight can always fill.
  std::uint64_t largest_batch() const { return largest_batch_; }
  // REQUIRES: batch_size <= largest_batch(). Fills the draft with batch number `index` of this
  // stream.
  void plan(std::uint64_t index, Draft& draft) const;
  std::vector<Share> shares() const;

 private:
  struct Slot {
    std::uint32_t lane;
    std::uint32_t entry;  // of the lane
    std::uint64_t turn;   // of the alternatives
  };
  struct Pass {
    std::uint64_t begin = 0;
    std::uint64_t number = 0;
    std::optional<Permutation> order;
  };
  struct Searches;  // for substitutes in one batch

  void ask(const PlanOptions& options);  // fills asked_
  void weigh_lanes();                    // asked_ -> cycle_
  std::uint64_t capacity() const;        // of the lanes asked for
  // Whether all lanes are drawn alike and hold the same groups.
  bool alike() const;
  // Each fills a batch: from slot n of the endless sequence on, or single-pair batch `index`.
  void draw_complete(std::uint64_t n, std::span<Slot> slots) const;
  void draw_balanced(std::uint64_t n, std::span<Slot> slots) const;
  void draw_single_pair(std::uint64_t index, std::span<Slot> slots) const;
  // Of a complete table: slots from `first` on, all within one pass.
  void draw_pass(std::uint64_t pass, std::uint64_t first, std::span<Slot> slots) const;
  Slot slot_at(std::uint32_t lane, std::uint64_t position, std::uint64_t window) const;
  // Which of its rows entry `i` shows in its pass number `pass`.
  std::uint64_t row_turn(std::uint64_t i, std::uint64_t pass) const;
  PlanIndex::Place locate(std::uint32_t lane, std::uint64_t i) const {
    return index_.locate(lanes_[lane].pair, lanes_[lane].begin + static_cast<std::uint32_t>(i));
  }
  bool accept(Draft& draft, const Example& example) const;
  // A free example of the lane or, failing that, of another one.
  Example substitute(std::uint32_t lane, std::uint64_t key, Searches& searches, Draft& draft) const;
  // Each takes an example into the draft and returns true, or returns false.
  bool take(const PlanIndex::Place& place, std::uint64_t turn, Draft& draft, Example& found) const;
  bool take_any_turn(const PlanIndex::Place& place, Draft& draft, Example& found) const;
  bool take_pair(const Cell& cell, std::uint32_t group, std::size_t query, std::size_t passage,
                 Draft& draft, Example& found) const;
  bool find_in_lane(std::uint32_t lane, std::uint64_t key, Searches& searches, Draft& draft,
                    Example& found) const;
  bool find_in_any(std::uint64_t key, Searches& searches, Draft& draft, Example& found) const;

  const PlanIndex& index_;
  bool same_row_;
  std::uint64_t batch_size_;
  std::uint64_t key_;
  bool single_pair_;
  Lanes lanes_;
  std::vector<double> asked_;              // weights of the lanes
  std::vector<Share> unserved_;            // pairs asked for by name that no group can serve
  std::vector<std::uint64_t> capacities_;  // by lane; only for single pairs
  std::uint64_t largest_batch_ = 0;
  Cycle cycle_;
  std::vector<std::uint64_t> lane_keys_;
  // By lane: most of its entries that one batch can hold, or 1 where the lane is so large that
  // passes need not mind one another.
  std::vector<std::uint64_t> windows_;
  bool complete_ = false;
  std::vector<std::uint32_t> lane_order_;  // of a complete table: lanes in seeded order
  std::uint64_t shift_period_ = 1;         // of a complete table: lcm(G, P)
};

}  // namespace hybrid_fast
