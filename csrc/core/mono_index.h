// Rows of one language that can stand as (query, passage) alone, in the order they are drawn.
//
// A language stream holds the rows of one language or, where sources are weighted, those of one
// language and source:
//   rows      rows, cluster after cluster, larger clusters first
//   clusters  first position of each cluster of several rows, then that of all others, which have
//             one row each; empty if all have one
//   layers    number of draws in the first a layers, for a = 0 to the number of layers
// A cluster is the rows of one group (alternatives) or, failing that, of one shared text. Layer
// a draws one row from each cluster of more than a rows, so a pass (all layers) draws every row
// once and rows that may not share a batch lie far apart.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/plan_index.h"

namespace hybrid_fast {

class LanguageStream {
 public:
  LanguageStream(View<std::uint32_t> rows, View<std::uint32_t> groups, View<std::uint32_t> clusters,
                 View<std::uint32_t> layers, std::uint64_t key)
      : rows_(rows), groups_(groups), clusters_(clusters), layers_(layers), key_(key) {}

  struct Member {
    std::uint32_t row;
    std::uint32_t code;  // rows of one group have the same
  };

  std::uint64_t size() const { return rows_.size(); }
  bool clustered() const { return !clusters_.empty(); }
  std::uint64_t num_clusters() const {
    return clustered() ? num_large() + size() - clusters_.back() : size();
  }
  std::uint64_t cluster_size(std::uint64_t cluster) const {
    return cluster < num_large() ? clusters_[cluster + 1] - clusters_[cluster] : 1;
  }
  Member member(std::uint64_t cluster, std::uint64_t i) const {
    const std::uint64_t place = first(cluster) + i;
    return {rows_[place], groups_.empty() ? static_cast<std::uint32_t>(cluster) : groups_[place]};
  }
  // Writes the members drawn at consecutive positions of the endless stream, from `position` on;
  // `window` is the number of consecutive positions that may fall into one batch.
  void draw(std::uint64_t position, std::uint64_t window, std::span<Member> members) const;
  // The same for a stream without clusters, where nothing conflicts.
  void draw_rows(std::uint64_t position, std::uint64_t window, std::span<std::int64_t> rows) const;

 private:
  // Clusters of several rows.
  std::uint64_t num_large() const { return clustered() ? clusters_.size() - 1 : 0; }
  std::uint64_t first(std::uint64_t cluster) const {
    if (!clustered()) return cluster;
    return cluster < num_large() ? clusters_[cluster] : clusters_.back() + cluster - num_large();
  }

  View<std::uint32_t> rows_, groups_, clusters_, layers_;
  std::uint64_t key_;
};

// The rows of all language streams, one stream after another.
struct MonoIndex {
  struct Stream {
    std::int32_t language;
    std::int32_t source;  // -1: all
    MonoLanguage place;
  };
  std::vector<std::uint32_t> rows;
  std::vector<std::uint32_t> groups;  // of each row; only by source, where the rows of a group
                                      // may be in several streams
  std::vector<std::uint32_t> clusters, layers;
  std::vector<Stream> streams;  // by (language, source); only those with rows
};

// `by_source`: one stream a language and source, whose capacity is 0; else one a language.
MonoIndex index_mono(const PlanIndex& index, bool by_source);

}  // namespace hybrid_fast
