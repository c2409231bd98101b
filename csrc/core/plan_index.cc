#include "core/plan_index.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <utility>

// Bits are counted with the processor's own instruction where it has one. It is chosen
// while the program is loaded, when the checks for data races do not work yet.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(HYBRID_FAST_CHECKS_RACES)
#define HYBRID_FAST_POPCOUNT __attribute__((target_clones("popcnt", "default")))
#else
#define HYBRID_FAST_POPCOUNT
#endif

namespace hybrid_fast {
namespace {

// Position of the k-th bit that both sets have. REQUIRES: there are more than k
HYBRID_FAST_POPCOUNT std::uint32_t select_common(const std::uint64_t* a, const std::uint64_t* b,
                                                 std::uint32_t k) {
  std::uint32_t word = 0;
  for (;; ++word) {
    const auto count = static_cast<std::uint32_t>(std::popcount(a[word] & b[word]));
    if (k < count) break;
    k -= count;
  }
  std::uint64_t bits = a[word] & b[word];
  for (; k > 0; --k) bits &= bits - 1;
  return 64 * word + static_cast<std::uint32_t>(std::countr_zero(bits));
}

inline void prefetch(const void* address) { __builtin_prefetch(address); }

bool all_alike(const IndexViews& arrays) {
  const auto profile = [&](const Cell& cell) {
    return arrays.labels.subspan(cell.first_label, cell.stride);
  };
  return !arrays.cells.empty() &&
         std::all_of(arrays.cells.begin(), arrays.cells.end(), [&](const Cell& cell) {
           return !cell.mixed() && std::ranges::equal(profile(cell), profile(arrays.cells.front()));
         });
}

}  // namespace

PlanIndex::PlanIndex(const IndexViews& arrays, std::shared_ptr<const void> backing)
    : arrays_(arrays), backing_(std::move(backing)), complete_(all_alike(arrays)) {}

PlanIndex::PlanIndex(IndexVectors&& arrays) {
  auto owned = std::make_shared<IndexVectors>(std::move(arrays));
  for_each_array([](auto& view, const auto& vector) { view = vector; }, arrays_, *owned);
  complete_ = all_alike(arrays_);
  backing_ = std::move(owned);
}

std::span<const Pair> PlanIndex::pairs(bool same_row) const {
  const std::size_t num_cross = summary().num_cross_pairs;
  return same_row ? arrays_.pairs.subspan(num_cross) : arrays_.pairs.first(num_cross);
}

std::uint64_t PlanIndex::num_bytes() const {
  std::uint64_t total = 0;
  for_each_array([&](const auto& array) { total += array.size_bytes(); }, arrays_);
  return total;
}

PlanIndex::Place PlanIndex::locate(const Pair& pair, std::uint32_t group) const {
  const Request request{&pair, group};
  Place place;
  locate(std::span(&request, 1), std::span(&place, 1));
  return place;
}

void PlanIndex::locate(std::span<const Request> requests, std::span<Place> places) const {
  constexpr std::size_t kBlock = 32;  // what they prefetch fits the first-level cache
  std::array<Search, kBlock> searches;
  while (!requests.empty()) {
    const auto block = requests.first(std::min(kBlock, requests.size()));
    for (const Request& request : block) prefetch_guide(request);
    for (std::size_t i = 0; i < block.size(); ++i) read_guide(block[i], searches[i]);
    for (std::size_t i = 0; i < block.size(); ++i) find_span(block[i], searches[i]);
    for (std::size_t i = 0; i < block.size(); ++i) find_group(searches[i]);
    for (std::size_t i = 0; i < block.size(); ++i) find_entries(searches[i]);
    for (std::size_t i = 0; i < block.size(); ++i) places[i] = place(block[i], searches[i]);
    requests = requests.subspan(block.size());
    places = places.subspan(block.size());
  }
}

void PlanIndex::prefetch_guide(const Request& request) const {
  const Pair& pair = *request.pair;
  prefetch(arrays_.guides.data() + pair.first_guide + (request.group >> pair.guide_shift));
}

void PlanIndex::read_guide(const Request& request, Search& search) const {
  const Pair& pair = *request.pair;
  if (pair.num_spans == 1) {
    search.span = pair.first_span;
    search.num_spans = 1;
  } else {
    const std::uint32_t* guide =
        arrays_.guides.data() + pair.first_guide + (request.group >> pair.guide_shift);
    search.span = pair.first_span + guide[0];
    search.num_spans = guide[1] - guide[0] + 1;
  }
  prefetch(arrays_.spans.data() + search.span);
}

void PlanIndex::find_span(const Request& request, Search& search) const {
  // The first span whose end lies beyond the group.
  const Span* spans = arrays_.spans.data();
  std::uint32_t number = search.span;
  for (std::uint32_t n = search.num_spans; n > 1;) {
    const std::uint32_t half = n / 2;
    number += spans[number + half - 1].end <= request.group ? half : 0;
    n -= half;
  }
  search.span = number;
  search.cell = arrays_.cells.data() + spans[number].cell;
  search.k = request.group - (number == request.pair->first_span ? 0 : spans[number - 1].end);
  if (!search.cell->mixed()) {
    search.group = search.cell->first_group + search.k;
    search.first_entry = search.cell->first_entry + search.k * search.cell->stride;
    prefetch(arrays_.rows.data() + search.first_entry);
    return;
  }
  for (std::uint32_t set : {spans[number].query, spans[number].passage}) {
    prefetch(arrays_.words.data() + search.cell->first_word + set * search.cell->num_words());
  }
}

void PlanIndex::find_group(Search& search) const {
  const Cell& cell = *search.cell;
  if (!cell.mixed()) return;
  const Span& span = arrays_.spans[search.span];
  const std::uint64_t* words = arrays_.words.data() + cell.first_word;
  const std::uint32_t position = select_common(words + span.query * cell.num_words(),
                                               words + span.passage * cell.num_words(), search.k);
  search.group = cell.first_group + position;
  prefetch(arrays_.group_entries.data() + cell.first_mixed_group + position);
}

void PlanIndex::find_entries(Search& search) const {
  const Cell& cell = *search.cell;
  if (!cell.mixed()) return;
  search.first_entry = first_entry(cell, search.group);
  prefetch(arrays_.labels.data() + cell.first_label + (search.first_entry - cell.first_entry));
  prefetch(arrays_.rows.data() + search.first_entry);
}

PlanIndex::Place PlanIndex::place(const Request& request, const Search& search) const {
  const Cell& cell = *search.cell;
  if (!cell.mixed()) {
    const Span& span = arrays_.spans[search.span];
    return {search.group, search.first_entry + span.query, search.first_entry + span.passage};
  }
  const Label* labels =
      arrays_.labels.data() + cell.first_label + (search.first_entry - cell.first_entry);
  const auto entry_of = [&](std::int32_t language) {
    std::uint32_t i = 0;
    while (labels[i].language() != language) ++i;
    return search.first_entry + i;
  };
  return {search.group, entry_of(request.pair->query_language),
          entry_of(request.pair->passage_language)};
}

const Cell& PlanIndex::cell_of(std::uint32_t group) const {
  const auto after =
      std::upper_bound(arrays_.cells.begin(), arrays_.cells.end(), group,
                       [](std::uint32_t g, const Cell& cell) { return g < cell.first_group; });
  return *(after - 1);
}

std::uint32_t PlanIndex::first_entry(const Cell& cell, std::uint32_t group) const {
  const std::uint32_t k = group - cell.first_group;
  return cell.mixed() ? arrays_.group_entries[cell.first_mixed_group + k]
                      : cell.first_entry + k * cell.stride;
}

std::span<const Label> PlanIndex::labels(const Cell& cell, std::uint32_t group) const {
  if (!cell.mixed()) return arrays_.labels.subspan(cell.first_label, cell.stride);
  const std::uint32_t* entries =
      arrays_.group_entries.data() + cell.first_mixed_group + (group - cell.first_group);
  return arrays_.labels.subspan(cell.first_label + (entries[0] - cell.first_entry),
                                entries[1] - entries[0]);
}

std::uint32_t PlanIndex::num_rows(std::uint32_t entry, Use use) const {
  const std::uint32_t begin = rows_begin(entry), end = rows_end(entry);
  if (arrays_.row_uses.empty()) return end - begin;
  return static_cast<std::uint32_t>(
      std::count_if(arrays_.row_uses.begin() + begin, arrays_.row_uses.begin() + end,
                    [&](std::uint8_t uses) { return (uses & use) != 0; }));
}

std::uint32_t PlanIndex::row(std::uint32_t entry, std::uint64_t turn, Use use) const {
  const std::uint32_t begin = rows_begin(entry);
  auto k = static_cast<std::uint32_t>(turn % num_rows(entry, use));
  if (arrays_.row_uses.empty()) return arrays_.rows[begin + k];
  std::uint32_t i = begin;
  while ((arrays_.row_uses[i] & use) == 0 || k-- > 0) ++i;
  return arrays_.rows[i];
}

Example PlanIndex::example(const Place& place, std::uint64_t turn, bool same_row) const {
  if (!has_alternatives()) {
    return {place.group, arrays_.rows[place.query_entry], arrays_.rows[place.passage_entry]};
  }
  if (same_row) {
    const std::uint32_t both = row(place.query_entry, turn, kMixedExample);
    return {place.group, both, both};
  }
  // Both take turns; shifted by one when all have come up, every query is paired with every passage
  // in time.
  const std::uint64_t cycle = std::lcm(num_rows(place.query_entry, kCrossQuery),
                                       num_rows(place.passage_entry, kCrossPassage));
  return {place.group, row(place.query_entry, turn, kCrossQuery),
          row(place.passage_entry, turn + turn / cycle, kCrossPassage)};
}

std::uint64_t PlanIndex::num_turns(const Place& place, bool same_row) const {
  if (!has_alternatives()) return 1;
  if (same_row) return num_rows(place.query_entry, kMixedExample);
  return std::uint64_t{num_rows(place.query_entry, kCrossQuery)} *
         num_rows(place.passage_entry, kCrossPassage);
}

std::uint64_t PlanIndex::most_rows(const Place& place, bool same_row) const {
  if (!has_alternatives()) return 1;
  if (same_row) return num_rows(place.query_entry, kMixedExample);
  return std::max(num_rows(place.query_entry, kCrossQuery),
                  num_rows(place.passage_entry, kCrossPassage));
}

HYBRID_FAST_POPCOUNT TextCodes PlanIndex::shared_texts(std::uint32_t query_row,
                                                       std::uint32_t passage_row) const {
  TextCodes codes;
  if (!shares_texts()) return codes;
  // The passage of the query's own row would be a right answer, too, and the query of the passage's
  // row has this one.
  for (std::uint32_t row : {query_row, passage_row}) {
    codes.add(shared_code(arrays_.shared_passage_rows, arrays_.shared_passages, row));
    const std::uint32_t query = shared_code(arrays_.shared_query_rows, arrays_.shared_queries, row);
    if (query != 0) codes.add(static_cast<std::uint32_t>(summary().num_shared_passages) + query);
    if (query_row == passage_row) break;
  }
  return codes;
}

Resources PlanIndex::resources(const Example& example) const {
  Resources resources{{example.group}, 1};
  for (std::uint32_t text : shared_texts(example.query_row, example.passage_row)) {
    resources.codes[resources.size++] = static_cast<std::uint32_t>(summary().num_groups) + text;
  }
  return resources;
}

PlanIndex view_of(const IndexVectors& arrays) {
  IndexViews views;
  for_each_array([](auto& view, const auto& vector) { view = vector; }, views, arrays);
  return PlanIndex(views, nullptr);
}

}  // namespace hybrid_fast
