// PlanIndex::build: columns -> profiles of groups -> cells -> rows, presence bits, spans of pairs.
#include <algorithm>
#include <bit>
#include <future>
#include <limits>
#include <numeric>
#include <utility>

#include "core/grouping.h"
#include "core/mono_index.h"
#include "core/pair_capacity.h"
#include "core/pair_list.h"
#include "core/plan_index.h"
#include "core/profiles.h"
#include "core/shared_texts.h"

namespace hybrid_fast {
namespace {

constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
constexpr std::launch kIfPossible = std::launch::async | std::launch::deferred;

class IndexBuilder {
 public:
  IndexBuilder(const Columns& columns, const PlanIndex::Progress& progress)
      : columns_(columns), progress_(progress) {}

  PlanIndex run();

 private:
  void done();
  void find_shared();
  void find_profiles();
  bool is_full(const Profile& profile) const;
  void list_cells();
  void add_full_cell(const Profile& profile);
  void add_mixed_cells(std::span<const std::uint32_t> groups);
  void place_rows();
  void mark_presence();
  void mark_presence(Cell& cell);

  std::span<const Label> labels_of(std::uint32_t group) const {
    return profiles_.labels(profiles_.all()[profile_of_[group]]);
  }

  static constexpr int kStages = 7;

  const Columns& columns_;
  const PlanIndex::Progress& progress_;
  int num_done_ = 0;
  Groups groups_;
  Profiles profiles_;
  std::vector<std::uint32_t> profile_of_;  // by group of the table; kNone: never drawn
  bool alternatives_ = false;              // some entry has several rows ...
  bool uses_differ_ = false;               // ... which do not all serve the same uses
  bool sources_differ_ = false;            // the rows of some group are of several sources
  bool few_profiles_ = false;
  std::vector<std::uint32_t> order_;  // groups of the table in the order of the index
  std::uint32_t num_entries_ = 0;
  // By mixed cell, the number of its set of presence bits for each role and language.
  PresenceSets sets_;
  IndexVectors arrays_;
};

PlanIndex IndexBuilder::run() {
  done();
  arrays_.summary.push_back({});
  // On a thread of its own, or on this one where the system lets none start.
  std::future<void> shared = std::async(kIfPossible, [&] { find_shared(); });
  groups_ = group_rows(columns_);
  shared.get();
  done();
  find_profiles();
  list_cells();
  arrays_.summary.front().num_groups = order_.size();
  done();
  place_rows();
  if (sources_differ_) {
    arrays_.row_sources.assign(columns_.sources.begin(), columns_.sources.end());
  }
  groups_ = Groups();
  std::vector<std::uint32_t>().swap(profile_of_);
  std::vector<std::uint32_t>().swap(order_);
  done();
  std::future<MonoIndex> mono =
      std::async(kIfPossible, [index = view_of(arrays_)] { return index_mono(index, false); });
  mark_presence();
  list_pairs(sets_, arrays_);
  done();
  MonoIndex mono_index = mono.get();
  arrays_.mono_languages.resize(columns_.num_languages);
  for (const MonoIndex::Stream& stream : mono_index.streams)
    arrays_.mono_languages[stream.language] = stream.place;
  arrays_.mono_rows = std::move(mono_index.rows);
  arrays_.mono_clusters = std::move(mono_index.clusters);
  arrays_.mono_layers = std::move(mono_index.layers);
  done();
  Summary& whole = arrays_.summary.front();
  whole.cross_capacity = pair_capacity(view_of(arrays_), false, {});
  whole.mixed_capacity = pair_capacity(view_of(arrays_), true, {});
  for_each_array([](auto& array) { array.shrink_to_fit(); }, arrays_);
  done();
  return PlanIndex(std::move(arrays_));
}

void IndexBuilder::find_shared() {
  Summary& summary = arrays_.summary.front();
  summary.num_languages = columns_.num_languages;
  summary.num_sources = columns_.num_sources;
  summary.table_size = columns_.size();
  SharedTexts queries = find_shared_texts(columns_.queries, columns_.groups);
  summary.num_queries = queries.num_different;
  summary.num_shared_queries = queries.num_codes;
  arrays_.shared_query_rows = std::move(queries.rows);
  arrays_.shared_queries = std::move(queries.codes);
  SharedTexts passages = find_shared_texts(columns_.passages, columns_.groups);
  summary.num_passages = passages.num_different;
  summary.num_shared_passages = passages.num_codes;
  arrays_.shared_passage_rows = std::move(passages.rows);
  arrays_.shared_passages = std::move(passages.codes);
}

void IndexBuilder::done() {
  if (progress_) progress_(num_done_, kStages - 1);
  ++num_done_;
}

void IndexBuilder::find_profiles() {
  profile_of_.assign(groups_.size(), kNone);
  std::vector<std::uint8_t> uses(columns_.num_languages);  // of the group, by language
  std::vector<std::int32_t> present;
  std::vector<Label> labels;
  for (std::uint32_t group = 0; group < groups_.size(); ++group) {
    std::int32_t source = -1;
    present.clear(), labels.clear();
    for (std::uint32_t row : groups_.rows_of(group)) {
      if (columns_.uses[row] == 0) continue;
      if (source < 0) source = columns_.sources[row];
      sources_differ_ |= source != columns_.sources[row];
      std::uint8_t& known = uses[columns_.languages[row]];
      if (known == 0) {
        present.push_back(columns_.languages[row]);
      } else {
        alternatives_ = true;
        uses_differ_ |= known != columns_.uses[row];
      }
      known |= columns_.uses[row];
    }
    if (present.empty()) continue;
    if (!std::is_sorted(present.begin(), present.end())) std::sort(present.begin(), present.end());
    for (std::int32_t language : present) {
      labels.emplace_back(language, uses[language]);
      uses[language] = 0;
    }
    profile_of_[group] = profiles_.number(labels, source);
    ++profiles_.all()[profile_of_[group]].num_groups;
  }
  std::uint64_t num_spans = 0;
  for (const Profile& profile : profiles_.all()) {
    num_spans += std::uint64_t{profile.num_labels} * profile.num_labels;
  }
  constexpr std::uint64_t kFew = 1 << 16;
  few_profiles_ = num_spans <= kFew;
}

// A full cell costs a span for each of its pairs, which must be little beside its rows.
bool IndexBuilder::is_full(const Profile& profile) const {
  return few_profiles_ || profile.num_groups >= std::max(32u, 4 * profile.num_labels);
}

void IndexBuilder::list_cells() {
  const std::vector<Profile>& profiles = profiles_.all();
  const auto source_of = [&](std::uint32_t group) { return profiles[profile_of_[group]].source; };
  // Cells of one source side by side, so that the groups of a pair are, too.
  std::vector<std::uint32_t> by_source(profiles.size());
  std::iota(by_source.begin(), by_source.end(), 0u);
  std::ranges::stable_sort(by_source, {}, [&](std::uint32_t p) { return profiles[p].source; });
  std::vector<std::uint32_t> mixed;
  std::size_t num_groups = 0;
  for (std::uint32_t group = 0; group < groups_.size(); ++group) {
    const std::uint32_t p = profile_of_[group];
    if (p == kNone) continue;
    ++num_groups;
    if (!is_full(profiles[p])) mixed.push_back(group);
  }
  std::ranges::stable_sort(mixed, {}, source_of);

  order_.reserve(num_groups);
  std::vector<std::uint32_t> next_place(profiles.size(), kNone);  // of the full ones
  std::span<const std::uint32_t> mixed_left = mixed;
  for (std::size_t i = 0; i < by_source.size();) {
    const std::int32_t source = profiles[by_source[i]].source;
    for (; i < by_source.size() && profiles[by_source[i]].source == source; ++i) {
      if (!is_full(profiles[by_source[i]])) continue;
      next_place[by_source[i]] = static_cast<std::uint32_t>(order_.size());
      add_full_cell(profiles[by_source[i]]);
    }
    const auto end = std::ranges::upper_bound(mixed_left, source, {}, source_of);
    const auto count = static_cast<std::size_t>(end - mixed_left.begin());
    add_mixed_cells(mixed_left.first(count));
    mixed_left = mixed_left.subspan(count);
  }
  for (std::uint32_t group = 0; group < groups_.size(); ++group) {
    const std::uint32_t p = profile_of_[group];
    if (p != kNone && next_place[p] != kNone) order_[next_place[p]++] = group;
  }
}

void IndexBuilder::add_full_cell(const Profile& profile) {
  arrays_.cells.push_back({static_cast<std::uint32_t>(order_.size()), profile.num_groups,
                           num_entries_, profile.num_labels, 0, profile.source,
                           arrays_.labels.size(), 0});
  const auto labels = profiles_.labels(profile);
  arrays_.labels.insert(arrays_.labels.end(), labels.begin(), labels.end());
  order_.resize(order_.size() + profile.num_groups);
  num_entries_ += profile.num_groups * profile.num_labels;
}

// Groups of one source, cut into cells that are large enough for the spans of all their pairs to
// be few beside their rows, and small enough to be searched.
void IndexBuilder::add_mixed_cells(std::span<const std::uint32_t> groups) {
  constexpr std::size_t kSmallest = 1024, kLargest = 65536, kGroupsPerPair = 2;
  if (groups.empty()) return;
  std::size_t num_rows = 0;
  for (std::uint32_t group : groups) num_rows += labels_of(group).size();
  const auto num_languages = static_cast<std::size_t>(columns_.num_languages);
  const std::size_t size = std::clamp(
      std::bit_ceil(kGroupsPerPair * num_languages * num_languages * groups.size() / num_rows),
      kSmallest, kLargest);
  for (; !groups.empty(); groups = groups.subspan(std::min(size, groups.size()))) {
    const auto members = groups.first(std::min(size, groups.size()));
    arrays_.cells.push_back(
        {static_cast<std::uint32_t>(order_.size()), static_cast<std::uint32_t>(members.size()),
         num_entries_, 0, static_cast<std::uint32_t>(arrays_.group_entries.size()),
         profiles_.all()[profile_of_[members.front()]].source, arrays_.labels.size(), 0});
    for (std::uint32_t group : members) {
      const auto labels = labels_of(group);
      arrays_.group_entries.push_back(num_entries_);
      arrays_.labels.insert(arrays_.labels.end(), labels.begin(), labels.end());
      order_.push_back(group);
      num_entries_ += static_cast<std::uint32_t>(labels.size());
    }
    arrays_.group_entries.push_back(num_entries_);
  }
}

void IndexBuilder::place_rows() {
  const PlanIndex index = view_of(arrays_);
  std::vector<std::uint32_t> rows, starts;
  std::vector<std::uint8_t> row_uses;
  rows.reserve(num_entries_);
  std::uint32_t last_group = kNone;
  std::span<const std::uint32_t> of_group;
  std::uint32_t next = 0;
  for_each_entry(index, [&](const Cell&, std::uint32_t group, Label label, std::uint32_t) {
    if (group != last_group) {
      of_group = groups_.rows_of(order_[group]);
      last_group = group;
      next = 0;
    }
    if (alternatives_) starts.push_back(static_cast<std::uint32_t>(rows.size()));
    // Rows mostly stand in the order of languages already: the search begins where the last ended.
    for (std::uint32_t k = 0, i = next; k < of_group.size(); ++k, ++i) {
      if (i == of_group.size()) i = 0;
      const std::uint32_t row = of_group[i];
      if (columns_.languages[row] != label.language() || columns_.uses[row] == 0) continue;
      rows.push_back(row);
      if (uses_differ_) row_uses.push_back(columns_.uses[row]);
      next = i + 1 == of_group.size() ? 0 : i + 1;
      if (!alternatives_) break;
    }
  });
  if (alternatives_) starts.push_back(static_cast<std::uint32_t>(rows.size()));
  arrays_.rows = std::move(rows);
  arrays_.row_uses = std::move(row_uses);
  arrays_.entry_starts = std::move(starts);
}

void IndexBuilder::mark_presence() {
  for (Cell& cell : arrays_.cells) {
    if (cell.mixed()) mark_presence(cell);
  }
}

void IndexBuilder::mark_presence(Cell& cell) {
  const auto num_languages = static_cast<std::size_t>(columns_.num_languages);
  const std::uint32_t num_words = cell.num_words();
  std::vector<std::uint64_t> bits(kRoles * num_languages * num_words);
  const auto set_of = [&](std::size_t role, std::size_t language) {
    return std::span(bits).subspan((role * num_languages + language) * num_words, num_words);
  };
  const PlanIndex index = view_of(arrays_);
  for (std::uint32_t k = 0; k < cell.num_groups; ++k) {
    for (const Label& label : index.labels(cell, cell.first_group + k)) {
      for (std::size_t role = 0; role < kRoles; ++role) {
        const std::uint64_t bit = (label.uses() & kRoleUses[role]) != 0 ? 1 : 0;
        set_of(role, label.language())[k / 64] |= bit << (k % 64);
      }
    }
  }
  // Empty sets are left out, and equal ones of a language kept once.
  cell.first_word = arrays_.words.size();
  std::vector<std::uint16_t> numbers(kRoles * num_languages, kNoSet);
  std::uint16_t num_sets = 0;
  for (std::size_t language = 0; language < num_languages; ++language) {
    for (std::size_t role = 0; role < kRoles; ++role) {
      const auto set = set_of(role, language);
      std::uint16_t& number = numbers[role * num_languages + language];
      if (std::ranges::all_of(set, [](std::uint64_t word) { return word == 0; })) continue;
      for (std::size_t other = 0; other < role && number == kNoSet; ++other) {
        if (std::ranges::equal(set, set_of(other, language))) {
          number = numbers[other * num_languages + language];
        }
      }
      if (number != kNoSet) continue;
      number = num_sets++;
      arrays_.words.insert(arrays_.words.end(), set.begin(), set.end());
    }
  }
  sets_.push_back(std::move(numbers));
}

}  // namespace

PlanIndex PlanIndex::build(const Columns& columns, const Progress& progress) {
  check(columns);
  return IndexBuilder(columns, progress).run();
}

}  // namespace hybrid_fast
