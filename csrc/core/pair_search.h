// Substitutes for examples that a batch cannot take, since it holds their group, query or passage
// already.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "core/pair_streams.h"
#include "core/plan_index.h"
#include "core/plan_options.h"

namespace hybrid_fast {

// Takes the example into the draft and returns true, or returns false and leaves it as it was.
inline bool accept(const PlanIndex& index, const Example& example, Draft& draft) {
  return draft.taken.add(example.group, index.shared_texts(example.query_row, example.passage_row));
}

// All searches of one batch: one for each stream that needs any, and one over all groups.
class PairSearch {
 public:
  // `shares`: by stream, the share in effect; a stream of share 0 gives no substitute. All
  // arguments must outlive the search.
  PairSearch(const PlanIndex& index, const PairStreams& streams, const std::vector<double>& shares,
             bool same_row, Draft& draft)
      : index_(index), streams_(streams), shares_(shares), same_row_(same_row), draft_(draft) {}

  // A free example of the stream, which is then taken into the draft.
  std::optional<Example> find_in_stream(std::uint32_t number, std::uint64_t key);
  // The same of any stream.
  std::optional<Example> find_anywhere(std::uint64_t key);

 private:
  // Each takes an example into the draft, notes it in found_ and returns true, or returns false.
  bool take(const PlanIndex::Place& place, std::uint64_t turn);
  bool take_any_turn(const PlanIndex::Place& place);
  bool take_pair(const Cell& cell, std::uint32_t group, std::size_t query, std::size_t passage);

  const PlanIndex& index_;
  const PairStreams& streams_;
  const std::vector<double>& shares_;
  bool same_row_;
  Draft& draft_;
  Example found_{};
  std::unordered_map<std::uint32_t, FreeSearch> stream_searches_;
  FreeSearch group_search_;
};

}  // namespace hybrid_fast
