// What cross and mixed batches draw from: a pair of languages, or the part of it that is of one
// source.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/plan_index.h"

namespace hybrid_fast {

struct Lane {
  Pair pair;
  std::int32_t source;        // -1: all
  std::uint32_t begin, size;  // groups of the pair
};

class Lanes {
 public:
  // Split by source where weights of sources are given, those of weight 0 left out.
  Lanes(const PlanIndex& index, bool same_row, const std::vector<double>& source_weights)
      : num_languages_(index.summary().num_languages),
        ranges_(std::size_t(num_languages_) * num_languages_) {
    for (const Pair& pair : index.pairs(same_row)) {
      Range& range = ranges_[place(pair.query_language, pair.passage_language)];
      range.begin = static_cast<std::uint32_t>(lanes_.size());
      if (source_weights.empty()) lanes_.push_back({pair, -1, 0, pair.size});
      for (const Slice& slice : index.arrays().slices.subspan(pair.first_slice, pair.num_slices)) {
        if (source_weights.empty() || source_weights[slice.source] == 0) continue;
        lanes_.push_back({pair, slice.source, slice.begin, slice.size});
      }
      range.end = static_cast<std::uint32_t>(lanes_.size());
    }
  }

  std::size_t size() const { return lanes_.size(); }
  bool empty() const { return lanes_.empty(); }
  const Lane& operator[](std::size_t i) const { return lanes_[i]; }
  auto begin() const { return lanes_.begin(); }
  auto end() const { return lanes_.end(); }

  // The lane that holds the groups of a pair which are of a source, if there is one.
  std::optional<std::uint32_t> find(std::int32_t query_language, std::int32_t passage_language,
                                    std::int32_t source) const {
    const auto [begin, end] = ranges_[place(query_language, passage_language)];
    if (begin == end) return std::nullopt;
    if (lanes_[begin].source < 0) return begin;
    const auto found = std::lower_bound(
        lanes_.begin() + begin, lanes_.begin() + end, source,
        [](const Lane& lane, std::int32_t wanted) { return lane.source < wanted; });
    if (found == lanes_.begin() + end || found->source != source) return std::nullopt;
    return static_cast<std::uint32_t>(found - lanes_.begin());
  }

 private:
  struct Range {
    std::uint32_t begin = 0, end = 0;
  };
  std::size_t place(std::int32_t query_language, std::int32_t passage_language) const {
    return static_cast<std::size_t>(query_language) * num_languages_ + passage_language;
  }

  std::vector<Lane> lanes_;  // by pair, then by source
  std::int32_t num_languages_;
  std::vector<Range> ranges_;  // of lanes_, by pair of languages
};

}  // namespace hybrid_fast
