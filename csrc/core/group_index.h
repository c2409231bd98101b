// The language-pair index: for every pair (x, y), the groups with a query in x and a passage in y.
//
// Groups are sorted by signature (the set of query languages, the set of passage languages, the
// source where sources are weighted), so that a pair's groups are a few runs, one a signature, and
// no pair is ever listed group by group:
//   signatures_  languages of its groups; where their groups and row entries begin
//   lanes_       one a (query language, passage language, source) that some group can serve
//   span_ends_   for each run of each lane: how many of the lane's groups lie in it or before it
//   spans_       likewise: where its groups and rows are
//   guides_      for every 2^guide_shift groups of a lane: the run that the first of them is in
//   RowTable     rows of group after group, language after language; alternatives side by side
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/columns.h"

namespace hybrid_fast {

// Rows by entry. An entry is a (group, language); where it has several rows they take turns.
struct RowTable {
  std::vector<std::uint32_t> rows;
  std::vector<std::uint32_t> starts;  // first row of each entry, then rows.size(); empty: one each

  std::uint32_t num_rows(std::uint64_t entry) const {
    return starts.empty() ? 1 : starts[entry + 1] - starts[entry];
  }
  std::uint32_t row(std::uint64_t entry, std::uint64_t turn) const {
    return starts.empty() ? rows[entry] : rows[starts[entry] + turn % num_rows(entry)];
  }
};

struct Lane {
  std::int32_t query_language;
  std::int32_t passage_language;
  std::int32_t source;  // -1 where sources are not weighted
  std::uint32_t size;   // groups
  std::uint32_t first_span;
  std::uint32_t num_spans;
  std::uint32_t first_guide;
  std::uint32_t guide_shift;
};

struct Example {
  std::uint32_t group;  // position in signature order
  std::uint32_t query_row;
  std::uint32_t passage_row;
};

class GroupIndex {
 public:
  // A group of a lane and the entries that hold its rows.
  struct Place {
    std::uint32_t group;
    std::uint32_t query_entry, passage_entry;
  };

  // `same_row`: mixed batches, both texts of an example come from one row (kMixedExample) and the
  // lanes are (x, x). Otherwise cross batches, and the lanes are (x, y), x != y.
  // Split by source where `source_weights` are given, rows of weight 0 left out; the source of a
  // group is that of its first row.
  GroupIndex(const Columns& columns, const Groups& groups, bool same_row,
             const std::vector<double>& source_weights);

  const std::vector<Lane>& lanes() const { return lanes_; }
  std::uint64_t num_groups() const { return num_groups_; }
  // Batch size that can always be filled from these lanes, chosen freely.
  std::uint64_t capacity(std::span<const std::uint32_t> lanes, const Groups& groups) const;
  // Whether one signature holds all groups, so that every lane has every group.
  bool complete() const { return signatures_.size() == 1; }
  bool same_row() const { return same_row_; }
  // Whether some group has several rows to choose from, so that turns matter.
  bool has_alternatives() const { return !queries_->starts.empty() || !passages_->starts.empty(); }

  // Where the rows of entry `i` of a lane stand. REQUIRES: i < lanes()[lane].size
  Place locate(std::uint32_t lane, std::uint64_t i) const;
  // The example at a place, its alternatives at their turn. Apart from `locate`, so that the memory
  // accesses of many examples overlap.
  Example example(const Place& place, std::uint64_t turn) const;

  // Turns 0 to so many show all pairs of rows of a place: queries * passages.
  std::uint64_t num_turns(const Place& place) const;

  // Where lane k serves `examples[k]` examples a batch, spread evenly over its groups, a group may
  // be asked for more than once. Returns what each lane may serve so that none is: in a crowded
  // group the lanes that ask most of it are cut to one common level. The others keep `examples[k]`.
  std::vector<double> uncrowded(const std::vector<double>& examples) const;

 private:
  struct Signature {
    std::vector<std::int32_t> query_languages, passage_languages;  // ascending
    std::int32_t source = -1;
    std::uint32_t first_group = 0;
    std::uint32_t num_groups = 0;
    std::uint32_t first_query_entry = 0;
    std::uint32_t first_passage_entry = 0;
  };
  // Group k of a run has its query at entry query_entry + k * query_stride; passages likewise.
  struct Span {
    std::uint32_t signature;
    std::uint32_t group;
    std::uint32_t query_entry, passage_entry;
    std::uint32_t query_stride, passage_stride;
  };

  // Whether the row's source is drawn at all.
  bool drawn(const Columns& columns, std::uint32_t row) const;
  void collect_signatures(const Columns& columns, const Groups& groups);
  void fill_rows(const Columns& columns, const Groups& groups);
  void add_guides(Lane& lane);
  void list_lanes(std::int32_t num_languages, std::int32_t num_sources);

  bool same_row_;
  std::vector<double> source_weights_;
  std::uint8_t query_use_, passage_use_;
  std::vector<Signature> signatures_;
  std::vector<std::uint32_t> signature_of_;  // while building: by group of the table
  std::shared_ptr<RowTable> queries_, passages_;
  std::vector<Lane> lanes_;
  std::vector<std::uint32_t> span_ends_;
  std::vector<Span> spans_;
  std::vector<std::uint32_t> guides_;
  std::uint64_t num_groups_ = 0;
};

}  // namespace hybrid_fast
