// The language-pair index: for every pair (x, y), the groups with a query in x and a passage in y.
//
// Groups are put into cells, and a pair keeps one span for each cell that holds groups of it, so
// that no pair is ever listed group by group. A cell is either
//   full    all groups of one profile (languages with their uses, and source), if they are many:
//           every pair of the profile has all groups of the cell
//   mixed   groups of one source and many rare profiles: a bit for each group and language tells
//           which groups have it, and the k-th common bit of two languages is searched
// Groups are numbered cell by cell, their entries (group, language) group by group, the languages
// of a group in ascending order. All arrays are flat, without pointers: `index_file.h` maps them.
//
//   cells            see Cell
//   labels           language and uses (Label) of the entries of a full cell's profile, or of every
//                    entry of a mixed cell
//   group_entries    first entry of each group of the mixed cells, and one past each cell's last
//   words            presence bits of the mixed cells, set after set
//   pairs            cross pairs by (x, y), then mixed ones (x, x)
//   slices           by source, the part of a pair that is the source's
//   spans            of pair after pair, cell after cell
//   guides           for every 2^guide_shift groups of a pair: the span that the first is in
//   rows             rows of entry after entry; alternatives side by side
//   entry_starts     first row of each entry, then rows.size(); empty: one row each
//   row_uses         uses of each of `rows`; empty where the rows of an entry have the same
//   shared_query_rows, shared_queries, shared_passage_rows, shared_passages   see SharedTexts
//   row_sources      by row of the table; empty where every group is of one source
//   mono_languages, mono_rows, mono_clusters, mono_layers   see mono_index.h
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/columns.h"
#include "core/shared_texts.h"

namespace hybrid_fast {

// A language and its uses by one group.
class Label {
 public:
  Label() = default;
  Label(std::int32_t language, std::uint8_t uses)
      : bits_(static_cast<std::uint16_t>(language | uses << kLanguageBits)) {}
  std::int32_t language() const { return bits_ & ((1 << kLanguageBits) - 1); }
  std::uint8_t uses() const { return static_cast<std::uint8_t>(bits_ >> kLanguageBits); }
  bool operator==(const Label&) const = default;

 private:
  static constexpr int kLanguageBits = 12;
  std::uint16_t bits_ = 0;
};

struct Cell {
  std::uint32_t first_group;
  std::uint32_t num_groups;
  std::uint32_t first_entry;
  std::uint32_t stride;             // full: entries a group; mixed: 0
  std::uint32_t first_mixed_group;  // mixed: place of its first group in group_entries
  std::int32_t source;
  std::uint64_t first_label;
  std::uint64_t first_word;  // mixed

  bool mixed() const { return stride == 0; }
  std::uint32_t num_words() const { return (num_groups + 63) / 64; }  // of one set of bits
};

struct Pair {
  std::int32_t query_language;
  std::int32_t passage_language;
  std::uint32_t size;  // groups
  std::uint32_t first_span, num_spans;
  std::uint32_t first_guide, guide_shift;
  std::uint32_t first_slice, num_slices;
};

struct Slice {
  std::int32_t source;
  std::uint32_t begin, size;  // groups of its pair
};

struct Span {
  std::uint32_t end;  // groups of the pair in this span and before
  std::uint32_t cell;
  // Where its languages stand: full: position in the profile; mixed: number of the set of bits.
  std::uint16_t query, passage;
};

struct MonoLanguage {
  std::uint32_t first_row, num_rows;
  std::uint32_t first_cluster, num_clusters;  // those of several rows
  std::uint32_t first_layer, num_layers;
  std::uint32_t capacity;  // batch size that can always be filled
};

// What holds for the whole table.
struct Summary {
  std::int32_t num_languages = 0;
  std::int32_t num_sources = 0;
  std::uint64_t table_size = 0;
  std::uint64_t num_groups = 0;  // those that some batch can draw
  std::uint64_t num_cross_pairs = 0;
  std::uint64_t num_queries = 0, num_passages = 0;  // different ones
  std::uint64_t num_shared_queries = 0, num_shared_passages = 0;
  // Batch sizes that can always be filled from all cross pairs, and from all mixed ones.
  std::uint64_t cross_capacity = 0, mixed_capacity = 0;
};

template <template <typename> typename Array>
struct IndexArrays {
  Array<Summary> summary;  // one
  Array<Cell> cells;
  Array<Label> labels;
  Array<std::uint32_t> group_entries;
  Array<std::uint64_t> words;
  Array<Pair> pairs;
  Array<Slice> slices;
  Array<Span> spans;
  Array<std::uint32_t> guides;
  Array<std::uint32_t> rows;
  Array<std::uint32_t> entry_starts;
  Array<std::uint8_t> row_uses;
  Array<CodedRows> shared_query_rows;
  Array<std::uint32_t> shared_queries;
  Array<CodedRows> shared_passage_rows;
  Array<std::uint32_t> shared_passages;
  Array<std::int32_t> row_sources;
  Array<MonoLanguage> mono_languages;
  Array<std::uint32_t> mono_rows;
  Array<std::uint32_t> mono_clusters;
  Array<std::uint32_t> mono_layers;
};

// Visits each array, in the order above, together with the same one of the others given.
template <typename Visit, typename... Arrays>
void for_each_array(Visit&& visit, Arrays&... arrays) {
  visit(arrays.summary...), visit(arrays.cells...), visit(arrays.labels...);
  visit(arrays.group_entries...), visit(arrays.words...), visit(arrays.pairs...);
  visit(arrays.slices...), visit(arrays.spans...), visit(arrays.guides...);
  visit(arrays.rows...), visit(arrays.entry_starts...), visit(arrays.row_uses...);
  visit(arrays.shared_query_rows...), visit(arrays.shared_queries...);
  visit(arrays.shared_passage_rows...), visit(arrays.shared_passages...);
  visit(arrays.row_sources...);
  visit(arrays.mono_languages...), visit(arrays.mono_rows...);
  visit(arrays.mono_clusters...), visit(arrays.mono_layers...);
}

template <typename T>
using View = std::span<const T>;
template <typename T>
using Vector = std::vector<T>;
using IndexViews = IndexArrays<View>;
using IndexVectors = IndexArrays<Vector>;

struct Example {
  std::uint32_t group;
  std::uint32_t query_row;
  std::uint32_t passage_row;
};

// What an example takes up in a batch: its group, then the shared texts of its two rows, as codes
// of one range. Two examples conflict if they have one in common.
struct Resources {
  std::array<std::uint32_t, 5> codes;
  std::size_t size;
};

class PlanIndex {
 public:
  // A group and the entries that hold its rows.
  struct Place {
    std::uint32_t group;
    std::uint32_t query_entry, passage_entry;
  };
  // Called between the stages of building with those done and their number.
  using Progress = std::function<void(int done, int total)>;

  // Throws std::invalid_argument on bad columns.
  static PlanIndex build(const Columns& columns, const Progress& progress);
  // Views into memory that `backing` keeps.
  PlanIndex(const IndexViews& arrays, std::shared_ptr<const void> backing);
  explicit PlanIndex(IndexVectors&& arrays);

  const IndexViews& arrays() const { return arrays_; }
  const Summary& summary() const { return arrays_.summary.front(); }
  std::span<const Pair> pairs(bool same_row) const;
  std::uint64_t num_bytes() const;
  // Whether every pair of either kind has every group.
  bool complete() const { return complete_; }
  // Whether some group has several rows to choose from, so that turns matter.
  bool has_alternatives() const { return !arrays_.entry_starts.empty(); }
  bool mixes_sources() const { return !arrays_.row_sources.empty(); }
  // Whether several groups have a query or a passage in common.
  bool shares_texts() const {
    return !arrays_.shared_queries.empty() || !arrays_.shared_passages.empty();
  }
  // The texts of an example's rows that other groups have, passages first: a row's, if it has both.
  TextCodes shared_texts(std::uint32_t query_row, std::uint32_t passage_row) const;

  // A group of a pair that is to be located. REQUIRES: group < pair->size
  struct Request {
    const Pair* pair;
    std::uint32_t group;
  };

  // Where the rows of groups stand; many at once, so that their memory accesses overlap.
  // REQUIRES: places.size() == requests.size()
  void locate(std::span<const Request> requests, std::span<Place> places) const;
  Place locate(const Pair& pair, std::uint32_t group) const;
  // The example at a place, its alternatives at their turn.
  Example example(const Place& place, std::uint64_t turn, bool same_row) const;
  // After so many turns all pairs of rows of a place have come up: queries * passages.
  std::uint64_t num_turns(const Place& place, bool same_row) const;
  // After so many turns each of its rows has come up.
  std::uint64_t most_rows(const Place& place, bool same_row) const;

  const Cell& cell_of(std::uint32_t group) const;
  std::uint32_t first_entry(const Cell& cell, std::uint32_t group) const;
  // Languages of a group of the cell, one for each of its entries.
  std::span<const Label> labels(const Cell& cell, std::uint32_t group) const;
  // Rows of an entry: the first and one past the last of arrays().rows.
  std::uint32_t rows_begin(std::uint32_t entry) const {
    return arrays_.entry_starts.empty() ? entry : arrays_.entry_starts[entry];
  }
  std::uint32_t rows_end(std::uint32_t entry) const { return rows_begin(entry + 1); }
  // Whether number `i` of arrays().rows serves, in an entry whose rows serve `label_uses` together.
  bool serves(std::uint32_t i, std::uint8_t label_uses, Use use) const {
    return ((arrays_.row_uses.empty() ? label_uses : arrays_.row_uses[i]) & use) != 0;
  }

  std::size_t num_resources() const {
    return summary().num_groups + summary().num_shared_queries + summary().num_shared_passages + 1;
  }
  Resources resources(const Example& example) const;

 private:
  // A request on its way to its place.
  struct Search {
    std::uint32_t span, num_spans;  // the first that may hold the group, and how many may
    std::uint32_t k;                // groups before it in its span
    const Cell* cell;
    std::uint32_t group, first_entry;
  };
  // The steps of the way, each of which prefetches what the next one reads.
  void prefetch_guide(const Request& request) const;
  void read_guide(const Request& request, Search& search) const;
  void find_span(const Request& request, Search& search) const;
  void find_group(Search& search) const;
  void find_entries(Search& search) const;
  Place place(const Request& request, const Search& search) const;

  std::uint32_t num_rows(std::uint32_t entry, Use use) const;
  std::uint32_t row(std::uint32_t entry, std::uint64_t turn, Use use) const;

  IndexViews arrays_;
  std::shared_ptr<const void> backing_;
  bool complete_;
};

// An index over arrays that the caller holds and is still filling.
PlanIndex view_of(const IndexVectors& arrays);

// Visits every entry as (cell, group, label, entry), in the order of entries.
template <typename Visit>
void for_each_entry(const PlanIndex& index, Visit&& visit) {
  for (const Cell& cell : index.arrays().cells) {
    for (std::uint32_t k = 0; k < cell.num_groups; ++k) {
      const std::uint32_t group = cell.first_group + k;
      std::uint32_t entry = index.first_entry(cell, group);
      for (const Label& label : index.labels(cell, group)) visit(cell, group, label, entry++);
    }
  }
}

}  // namespace hybrid_fast
