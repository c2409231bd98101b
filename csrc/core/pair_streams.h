// Pair streams: what cross and mixed batches draw from. Each holds the groups of one pair of
// languages or, where sources are weighted, those of one pair and source.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/plan_index.h"

namespace hybrid_fast {

struct PairStream {
  Pair pair;
  std::int32_t source;        // -1: all
  std::uint32_t begin, size;  // groups of the pair
};

class PairStreams {
 public:
  // One stream a pair; with source weights one a pair and source, without those of weight 0.
  PairStreams(const PlanIndex& index, bool same_row, const std::vector<double>& source_weights)
      : num_languages_(index.summary().num_languages),
        ranges_(std::size_t(num_languages_) * num_languages_) {
    for (const Pair& pair : index.pairs(same_row)) {
      Range& range = ranges_[place(pair.query_language, pair.passage_language)];
      range.begin = static_cast<std::uint32_t>(streams_.size());
      if (source_weights.empty()) streams_.push_back({pair, -1, 0, pair.size});
      for (const Slice& slice : index.arrays().slices.subspan(pair.first_slice, pair.num_slices)) {
        if (source_weights.empty() || source_weights[slice.source] == 0) continue;
        streams_.push_back({pair, slice.source, slice.begin, slice.size});
      }
      range.end = static_cast<std::uint32_t>(streams_.size());
    }
  }

  std::size_t size() const { return streams_.size(); }
  bool empty() const { return streams_.empty(); }
  const PairStream& operator[](std::size_t i) const { return streams_[i]; }
  auto begin() const { return streams_.begin(); }
  auto end() const { return streams_.end(); }

  // Number of the stream with a pair's groups of a source, if there is one.
  std::optional<std::uint32_t> find(std::int32_t query_language, std::int32_t passage_language,
                                    std::int32_t source) const {
    const auto [begin, end] = ranges_[place(query_language, passage_language)];
    if (begin == end) return std::nullopt;
    if (streams_[begin].source < 0) return begin;
    const auto found = std::lower_bound(
        streams_.begin() + begin, streams_.begin() + end, source,
        [](const PairStream& stream, std::int32_t wanted) { return stream.source < wanted; });
    if (found == streams_.begin() + end || found->source != source) return std::nullopt;
    return static_cast<std::uint32_t>(found - streams_.begin());
  }

 private:
  struct Range {
    std::uint32_t begin = 0, end = 0;
  };
  std::size_t place(std::int32_t query_language, std::int32_t passage_language) const {
    return static_cast<std::size_t>(query_language) * num_languages_ + passage_language;
  }

  std::vector<PairStream> streams_;  // by pair, then by source
  std::int32_t num_languages_;
  std::vector<Range> ranges_;  // of streams_, by pair of languages
};

}  // namespace hybrid_fast
