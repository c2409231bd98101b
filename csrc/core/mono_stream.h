// Mono batches: the language from a balanced cycle, the rows from that language's endless order.
#pragma once

#include <cstdint>
#include <vector>

#include "core/columns.h"
#include "core/cycle.h"
#include "core/mono_index.h"
#include "core/plan_options.h"

namespace hybrid_fast {

class MonoStream {
 public:
  // `groups` must outlive the stream.
  MonoStream(const Columns& columns, const Groups& groups, const PlanOptions& options);

  // The largest batch that some language of positive weight can always fill.
  std::uint64_t largest_batch() const { return largest_batch_; }
  // REQUIRES: batch_size <= largest_batch(). Fills the draft with mono batch number `index`.
  void plan(std::uint64_t index, Draft& draft) const;
  std::vector<Share> shares() const;

 private:
  void weigh_languages(const PlanOptions& options);
  void weigh_sources(const PlanOptions& options);
  bool accept(Draft& draft, std::uint32_t row) const;
  // A free row of the language, lanes tried from `lane` on.
  std::uint32_t substitute(std::uint32_t language, std::uint32_t lane, std::uint64_t slot,
                           Draft& draft) const;

  const Groups& groups_;
  std::uint64_t batch_size_;
  std::uint64_t key_;
  std::vector<MonoLanguage> languages_;
  std::vector<double> asked_;  // weights of the languages
  std::uint64_t largest_batch_ = 0;
  Cycle language_cycle_;
  std::vector<Cycle> source_cycles_;     // by language, over its lanes; empty: one lane each
  std::vector<std::uint32_t> group_of_;  // by row; empty where rows of a language never conflict
};

}  // namespace hybrid_fast
