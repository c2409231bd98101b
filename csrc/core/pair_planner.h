// Cross and mixed batches: an endless sequence of slots, each a pair stream and one of its groups;
// a batch is the next batch_size slots.
//
// Complete tables (every group in every stream, all weights equal): with G groups and P streams,
// slot n serves stream (n + n div lcm(G, P)) mod P and a group of residue class (n mod G) mod P.
// G slots use every group once, P such passes use every group once in every stream, and no batch
// repeats a group.
// Other tables: the stream from a balanced cycle, its entry from the stream's own order; an entry
// whose group, query or passage the batch already holds is substituted by a free one of the stream.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/cycle.h"
#include "core/pair_search.h"
#include "core/pair_streams.h"
#include "core/plan_index.h"
#include "core/plan_options.h"
#include "core/random.h"

namespace hybrid_fast {

class PairPlanner {
 public:
  // `same_row`: mixed batches, else cross. `index` must outlive the planner.
  PairPlanner(const PlanIndex& index, const PlanOptions& options, bool same_row);

  // The largest batch that the streams of positive weight can always fill.
  std::uint64_t largest_batch() const { return largest_batch_; }
  // Fills the draft with batch number `index` of the cross (or mixed) ones.
  // REQUIRES: batch_size <= largest_batch()
  void plan(std::uint64_t index, Draft& draft) const;
  std::vector<Share> shares() const;

 private:
  struct Slot {
    std::uint32_t stream;
    std::uint32_t entry;  // of the stream
    std::uint64_t turn;   // of the alternatives
  };
  struct Pass {
    std::uint64_t begin = 0;
    std::uint64_t number = 0;
    std::optional<Permutation> order;
  };

  void ask(const PlanOptions& options);  // fills asked_
  void weigh_streams();                  // asked_ -> cycle_
  std::uint64_t capacity() const;        // of the streams asked for
  // Whether all streams have the same share and the same groups.
  bool alike() const;
  // Each fills a batch: from slot n of the endless sequence on, or single-pair batch `index`.
  void draw_complete(std::uint64_t n, std::span<Slot> slots) const;
  void draw_balanced(std::uint64_t n, std::span<Slot> slots) const;
  void draw_single_pair(std::uint64_t index, std::span<Slot> slots) const;
  // Of a complete table: slots from `first` on, all within one pass.
  void draw_pass(std::uint64_t pass, std::uint64_t first, std::span<Slot> slots) const;
  Slot slot_at(std::uint32_t stream, std::uint64_t position, std::uint64_t window) const;
  // The turn of entry `i` in its pass number `pass`, which chooses among its rows.
  std::uint64_t row_turn(std::uint64_t i, std::uint64_t pass) const;
  // A free example of the stream or, failing that, of another one; counts it.
  Example substitute(std::uint32_t stream, std::uint64_t key, PairSearch& search,
                     Draft& draft) const;

  const PlanIndex& index_;
  bool same_row_;
  std::uint64_t batch_size_;
  std::uint64_t key_;
  bool single_pair_;
  PairStreams streams_;
  std::vector<double> asked_;              // weights of the streams
  std::vector<Share> unserved_;            // pairs asked for by name that no group can serve
  std::vector<std::uint64_t> capacities_;  // by stream; only for single pairs
  std::uint64_t largest_batch_ = 0;
  Cycle cycle_;
  std::vector<std::uint64_t> stream_keys_;
  // By stream: most of its entries that one batch can hold, or 1 where the stream is so large that
  // passes need not mind one another.
  std::vector<std::uint64_t> windows_;
  bool complete_ = false;
  std::vector<std::uint32_t> stream_order_;  // of a complete table: streams in seeded order
  std::uint64_t shift_period_ = 1;           // of a complete table: lcm(G, P)
};

}  // namespace hybrid_fast
