// Mono batches: the language from a balanced cycle, the rows from that language's streams.
#pragma once

#include <cstdint>
#include <vector>

#include "core/cycle.h"
#include "core/mono_index.h"
#include "core/plan_index.h"
#include "core/plan_options.h"

namespace hybrid_fast {

class MonoPlanner {
 public:
  // `index` must outlive the planner.
  MonoPlanner(const PlanIndex& index, const PlanOptions& options);

  // The largest batch that some language of positive weight can always fill.
  std::uint64_t largest_batch() const { return largest_batch_; }
  // REQUIRES: batch_size <= largest_batch(). Fills the draft with mono batch number `index`.
  void plan(std::uint64_t index, Draft& draft) const;
  std::vector<Share> shares() const;

 private:
  struct Language {
    std::vector<LanguageStream> streams;  // one a source, or a single one
    std::vector<std::int32_t> sources;    // -1 where sources are not weighted
    std::uint64_t num_rows = 0;
    std::uint64_t capacity = 0;  // batch size that can always be filled
  };

  void list_streams(const PlanOptions& options);
  void weigh_languages(const PlanOptions& options);
  void weigh_sources(const PlanOptions& options);
  bool accept(Draft& draft, const LanguageStream::Member& member) const;
  // A free row of the language, streams tried from `stream` on; one search for each stream.
  std::uint32_t substitute(const Language& language, std::uint32_t stream, std::uint64_t key,
                           std::vector<FreeSearch>& searches, Draft& draft) const;

  const PlanIndex& index_;
  std::uint64_t batch_size_;
  std::uint64_t key_;
  MonoIndex by_source_;  // rows of the streams where sources are weighted
  std::vector<Language> languages_;
  std::vector<double> asked_;  // weights of the languages
  std::uint64_t largest_batch_ = 0;
  Cycle language_cycle_;
  std::vector<Cycle> source_cycles_;  // by language, over its streams; empty: one stream each
};

}  // namespace hybrid_fast
