// Rows of one language that can stand as (query, passage) alone, in the order they are drawn.
//
// A lane holds the rows of one language (and one source, where sources are weighted):
//   rows_     rows, cluster after cluster, larger clusters first
//   starts_   first position of each cluster in rows_, then rows_.size(); empty if all have one row
//   layers_   number of draws in the first a layers, for a = 0 to the number of layers
// A cluster is the rows of one group (alternatives) or, failing that, of one shared passage. Layer
// a draws one row from each cluster of more than a rows, so a pass (all layers) draws every row
// once and rows that may not meet in a batch lie far apart.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/columns.h"

namespace hybrid_fast {

class MonoLane {
 public:
  struct Member {
    std::uint64_t cluster;
    std::uint32_t group;
    std::uint32_t row;
  };
  // REQUIRES: members not empty, sorted by cluster
  MonoLane(const std::vector<Member>& members, std::uint64_t key);

  std::uint64_t size() const { return rows_.size(); }
  bool clustered() const { return !starts_.empty(); }
  // Writes the rows drawn at `rows.size()` positions of the endless stream, from `position` on;
  // `window` is the number of consecutive positions that may fall into one batch.
  void draw(std::uint64_t position, std::uint64_t window, std::span<std::int64_t> rows) const;
  std::uint32_t row(std::uint64_t i) const { return rows_[i]; }

 private:
  // Draws positions [first, first + rows.size()) of one layer of a pass.
  void draw_layer(std::uint64_t pass, std::uint64_t layer, std::uint64_t first,
                  std::uint64_t window, std::span<std::int64_t> rows) const;

  std::uint64_t key_;
  std::vector<std::uint32_t> rows_;
  std::vector<std::uint32_t> starts_;
  std::vector<std::uint64_t> layers_;
};

struct MonoLanguage {
  std::vector<MonoLane> lanes;             // one a source, or a single one
  std::vector<std::int32_t> lane_sources;  // -1 where sources are not weighted
  std::uint64_t num_rows = 0;
  std::uint64_t capacity = 0;  // batch size that can always be filled
};

// One entry a language. Lanes are split by source where `source_weights` are given, and rows of
// sources of weight 0 left out.
std::vector<MonoLanguage> index_languages(const Columns& columns, const Groups& groups,
                                          const std::vector<double>& source_weights,
                                          std::uint64_t key);

}  // namespace hybrid_fast
