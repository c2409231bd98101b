#include "core/pair_list.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <span>

namespace hybrid_fast {
namespace {

// A span before its pair's are put side by side.
struct Found {
  std::uint32_t key;  // of the pair: cross x * L + y, mixed L * L + x
  std::uint32_t cell;
  std::uint32_t num_groups;
  std::uint16_t query, passage;
};

class PairLister {
 public:
  PairLister(const PresenceSets& sets, IndexVectors& arrays) : sets_(sets), arrays_(arrays) {}
  void list_pairs();

 private:
  void find_spans(std::uint32_t c, std::vector<Found>& found) const;
  void find_mixed_spans(std::uint32_t c, std::span<const std::uint16_t> sets,
                        std::vector<Found>& found) const;
  void add_slices(Pair& pair);
  void add_guides(Pair& pair);

  const PresenceSets& sets_;
  IndexVectors& arrays_;
};

void PairLister::find_spans(std::uint32_t c, std::vector<Found>& found) const {
  const Cell& cell = arrays_.cells[c];
  const auto num_languages = static_cast<std::uint32_t>(arrays_.summary.front().num_languages);
  const auto profile = std::span(arrays_.labels).subspan(cell.first_label, cell.stride);
  for (std::uint16_t i = 0; i < profile.size(); ++i) {
    const auto x = static_cast<std::uint32_t>(profile[i].language());
    if (profile[i].uses() & kMixedExample) {
      found.push_back({num_languages * num_languages + x, c, cell.num_groups, i, i});
    }
    if (!(profile[i].uses() & kCrossQuery)) continue;
    for (std::uint16_t j = 0; j < profile.size(); ++j) {
      if (i == j || !(profile[j].uses() & kCrossPassage)) continue;
      const std::uint32_t key = x * num_languages + profile[j].language();
      found.push_back({key, c, cell.num_groups, i, j});
    }
  }
}

// Counts groups by pair, which costs less than counting common bits where most pairs are rare.
void PairLister::find_mixed_spans(std::uint32_t c, std::span<const std::uint16_t> sets,
                                  std::vector<Found>& found) const {
  const Cell& cell = arrays_.cells[c];
  const auto num_languages = static_cast<std::uint32_t>(arrays_.summary.front().num_languages);
  std::vector<std::uint32_t> counts(num_languages * num_languages + num_languages);
  const PlanIndex index = view_of(arrays_);
  for (std::uint32_t k = 0; k < cell.num_groups; ++k) {
    const auto labels = index.labels(cell, cell.first_group + k);
    for (const Label& query : labels) {
      const auto x = static_cast<std::uint32_t>(query.language());
      if (query.uses() & kMixedExample) ++counts[num_languages * num_languages + x];
      if (!(query.uses() & kCrossQuery)) continue;
      for (const Label& passage : labels) {
        if (!(passage.uses() & kCrossPassage)) continue;
        ++counts[x * num_languages + passage.language()];
      }
    }
  }
  for (std::uint32_t x = 0; x < num_languages; ++x) {
    const std::uint32_t mixed = num_languages * num_languages + x;
    const std::uint16_t both = sets[kBoth * num_languages + x];
    if (counts[mixed] > 0) found.push_back({mixed, c, counts[mixed], both, both});
    for (std::uint32_t y = 0; y < num_languages; ++y) {
      const std::uint32_t key = x * num_languages + y;
      if (x == y || counts[key] == 0) continue;
      found.push_back({key, c, counts[key], sets[kQueries * num_languages + x],
                       sets[kPassages * num_languages + y]});
    }
  }
}

void PairLister::list_pairs() {
  const auto num_languages = static_cast<std::uint32_t>(arrays_.summary.front().num_languages);
  std::vector<Found> found;
  std::size_t next_sets = 0;
  for (std::uint32_t c = 0; c < arrays_.cells.size(); ++c) {
    if (arrays_.cells[c].mixed()) {
      find_mixed_spans(c, sets_[next_sets++], found);
    } else {
      find_spans(c, found);
    }
  }
  // Counting sort by pair; the spans of a pair stay in the order of cells.
  std::vector<std::uint32_t> starts(num_languages * num_languages + num_languages + 1);
  for (const Found& f : found) ++starts[f.key + 1];
  std::partial_sum(starts.begin(), starts.end(), starts.begin());
  std::vector<std::uint32_t> next(starts.begin(), starts.end() - 1);
  arrays_.spans.resize(found.size());
  for (const Found& f : found) {
    arrays_.spans[next[f.key]++] = {f.num_groups, f.cell, f.query, f.passage};
  }
  for (std::uint32_t key = 0; key + 1 < starts.size(); ++key) {
    if (starts[key] == starts[key + 1]) continue;
    const bool cross = key < num_languages * num_languages;
    const std::uint32_t x = cross ? key / num_languages : key - num_languages * num_languages;
    const std::uint32_t y = cross ? key % num_languages : x;
    Pair pair{};
    pair.query_language = static_cast<std::int32_t>(x);
    pair.passage_language = static_cast<std::int32_t>(y);
    pair.first_span = starts[key];
    pair.num_spans = starts[key + 1] - starts[key];
    for (std::uint32_t i = starts[key]; i < starts[key + 1]; ++i) {
      pair.size += arrays_.spans[i].end;  // until now its own number of groups
      arrays_.spans[i].end = pair.size;
    }
    add_slices(pair);
    add_guides(pair);
    arrays_.pairs.push_back(pair);
    arrays_.summary.front().num_cross_pairs += cross ? 1 : 0;
  }
}

void PairLister::add_slices(Pair& pair) {
  pair.first_slice = static_cast<std::uint32_t>(arrays_.slices.size());
  std::uint32_t begin = 0;
  for (const Span& span : std::span(arrays_.spans).subspan(pair.first_span, pair.num_spans)) {
    const std::int32_t source = arrays_.cells[span.cell].source;
    if (pair.num_slices == 0 || arrays_.slices.back().source != source) {
      arrays_.slices.push_back({source, begin, 0});
      ++pair.num_slices;
    }
    arrays_.slices.back().size += span.end - begin;
    begin = span.end;
  }
}

void PairLister::add_guides(Pair& pair) {
  if (pair.num_spans == 1) return;
  // About two guides a span: on average one step of the search is left.
  const int size_bits = std::bit_width(pair.size - 1);
  const int guide_bits = std::min<int>(size_bits, std::bit_width(pair.num_spans));
  pair.guide_shift = static_cast<std::uint32_t>(size_bits - guide_bits);
  pair.first_guide = static_cast<std::uint32_t>(arrays_.guides.size());
  std::uint32_t number = 0;
  for (std::uint64_t first = 0; first < pair.size; first += std::uint64_t{1} << pair.guide_shift) {
    while (arrays_.spans[pair.first_span + number].end <= first) ++number;
    arrays_.guides.push_back(number);
  }
  arrays_.guides.push_back(pair.num_spans - 1);
}

}  // namespace

void list_pairs(const PresenceSets& sets, IndexVectors& arrays) {
  PairLister(sets, arrays).list_pairs();
}

}  // namespace hybrid_fast
