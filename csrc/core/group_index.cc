#include "core/group_index.h"

#include <algorithm>
#include <bit>
#include <map>
#include <numeric>
#include <string>
#include <tuple>
#include <unordered_map>

#include "core/random.h"

namespace hybrid_fast {
namespace {

constexpr std::uint32_t kNone = UINT32_MAX;

std::vector<std::int32_t> members(const std::vector<char>& set) {
  std::vector<std::int32_t> languages;
  for (std::size_t i = 0; i < set.size(); ++i) {
    if (set[i]) languages.push_back(static_cast<std::int32_t>(i));
  }
  return languages;
}

}  // namespace

GroupIndex::GroupIndex(const Columns& columns, const Groups& groups, bool same_row,
                       const std::vector<double>& source_weights)
    : same_row_(same_row),
      source_weights_(source_weights),
      query_use_(same_row ? kMixedExample : kCrossQuery),
      passage_use_(same_row ? kMixedExample : kCrossPassage) {
  collect_signatures(columns, groups);
  fill_rows(columns, groups);
  list_lanes(columns.num_languages, columns.num_sources);
}

bool GroupIndex::drawn(const Columns& columns, std::uint32_t row) const {
  return source_weights_.empty() || source_weights_[columns.sources[row]] > 0;
}

void GroupIndex::collect_signatures(const Columns& columns, const Groups& groups) {
  const std::size_t num_languages = columns.num_languages;
  std::unordered_map<std::string, std::uint32_t> known;
  signature_of_.assign(groups.size(), kNone);
  std::string key;
  for (std::uint32_t group = 0; group < groups.size(); ++group) {
    key.assign(2 * num_languages, '\0');
    std::int32_t source = -1;
    for (std::uint32_t row : groups.rows_of(group)) {
      if (!drawn(columns, row)) continue;
      if (source < 0 && !source_weights_.empty()) source = columns.sources[row];
      if (columns.uses[row] & query_use_) key[columns.languages[row]] = 1;
      if (columns.uses[row] & passage_use_) key[num_languages + columns.languages[row]] = 1;
    }
    const std::vector<char> has_query(key.begin(), key.begin() + num_languages);
    const std::vector<char> has_passage(key.begin() + num_languages, key.end());
    const auto num_queries = std::count(has_query.begin(), has_query.end(), 1);
    const auto num_passages = std::count(has_passage.begin(), has_passage.end(), 1);
    const bool one_language = num_queries == 1 && has_query == has_passage;
    if (num_queries == 0 || num_passages == 0 || (!same_row_ && one_language)) continue;
    key += std::to_string(source);
    const auto [entry, added] = known.try_emplace(key, signatures_.size());
    if (added) {
      Signature signature;
      signature.query_languages = members(has_query);
      signature.passage_languages = members(has_passage);
      signature.source = source;
      signatures_.push_back(std::move(signature));
    }
    signature_of_[group] = entry->second;
    ++signatures_[entry->second].num_groups;
  }
  std::uint32_t query_entries = 0, passage_entries = 0;
  for (Signature& signature : signatures_) {
    signature.first_group = static_cast<std::uint32_t>(num_groups_);
    signature.first_query_entry = query_entries;
    signature.first_passage_entry = passage_entries;
    num_groups_ += signature.num_groups;
    query_entries +=
        signature.num_groups * static_cast<std::uint32_t>(signature.query_languages.size());
    passage_entries +=
        signature.num_groups * static_cast<std::uint32_t>(signature.passage_languages.size());
  }
}

void GroupIndex::fill_rows(const Columns& columns, const Groups& groups) {
  // Groups of the table in signature order.
  std::vector<std::uint32_t> order(num_groups_), next;
  for (const Signature& signature : signatures_) next.push_back(signature.first_group);
  for (std::uint32_t group = 0; group < groups.size(); ++group) {
    if (signature_of_[group] != kNone) order[next[signature_of_[group]]++] = group;
  }
  const auto table_of = [&](std::uint8_t use) {
    auto table = std::make_shared<RowTable>();
    bool alternatives = false;
    std::vector<std::vector<std::uint32_t>> rows(columns.num_languages);
    std::vector<std::int32_t> present;
    for (std::uint32_t group : order) {
      present.clear();
      for (std::uint32_t row : groups.rows_of(group)) {
        if (!(columns.uses[row] & use) || !drawn(columns, row)) continue;
        if (rows[columns.languages[row]].empty()) present.push_back(columns.languages[row]);
        rows[columns.languages[row]].push_back(row);
      }
      std::sort(present.begin(), present.end());
      for (std::int32_t language : present) {
        table->starts.push_back(static_cast<std::uint32_t>(table->rows.size()));
        table->rows.insert(table->rows.end(), rows[language].begin(), rows[language].end());
        alternatives |= rows[language].size() > 1;
        rows[language].clear();
      }
    }
    table->starts.push_back(static_cast<std::uint32_t>(table->rows.size()));
    if (!alternatives) release(table->starts);
    table->starts.shrink_to_fit();
    table->rows.shrink_to_fit();
    return table;
  };
  queries_ = table_of(query_use_);
  const bool same_uses =
      std::all_of(columns.uses.begin(), columns.uses.end(), [&](std::uint8_t uses) {
        return ((uses & query_use_) != 0) == ((uses & passage_use_) != 0);
      });
  passages_ = same_uses ? queries_ : table_of(passage_use_);
  release(signature_of_);
}

void GroupIndex::list_lanes(std::int32_t num_languages, std::int32_t num_sources) {
  // Runs by lane, in the order of the signatures.
  const std::int64_t sources = std::max(num_sources, 1);
  std::map<std::int64_t, std::vector<Span>> lanes;
  for (std::uint32_t s = 0; s < signatures_.size(); ++s) {
    const Signature& signature = signatures_[s];
    const auto& [xs, ys] = std::tie(signature.query_languages, signature.passage_languages);
    for (std::uint32_t i = 0; i < xs.size(); ++i) {
      for (std::uint32_t j = 0; j < ys.size(); ++j) {
        if ((xs[i] == ys[j]) != same_row_) continue;
        const std::int64_t pair = std::int64_t{xs[i]} * num_languages + ys[j];
        lanes[pair * sources + std::max(signature.source, 0)].push_back(
            {s, signature.first_group, signature.first_query_entry + i,
             signature.first_passage_entry + j, static_cast<std::uint32_t>(xs.size()),
             static_cast<std::uint32_t>(ys.size())});
      }
    }
  }
  for (const auto& [place, spans] : lanes) {
    const std::int64_t pair = place / sources;
    Lane lane{static_cast<std::int32_t>(pair / num_languages),
              static_cast<std::int32_t>(pair % num_languages),
              signatures_[spans.front().signature].source,
              0,
              static_cast<std::uint32_t>(spans_.size()),
              static_cast<std::uint32_t>(spans.size()),
              0,
              0};
    for (const Span& span : spans) {
      lane.size += signatures_[span.signature].num_groups;
      span_ends_.push_back(lane.size);
      spans_.push_back(span);
    }
    add_guides(lane);
    lanes_.push_back(lane);
  }
}

void GroupIndex::add_guides(Lane& lane) {
  // About two guides a run: on average one step of the search is left.
  const int size_bits = std::bit_width(lane.size - 1);
  const int guide_bits = std::min<int>(size_bits, std::bit_width(lane.num_spans));
  lane.guide_shift = static_cast<std::uint32_t>(size_bits - guide_bits);
  lane.first_guide = static_cast<std::uint32_t>(guides_.size());
  std::uint32_t number = 0;
  for (std::uint64_t first = 0; first < lane.size; first += std::uint64_t{1} << lane.guide_shift) {
    while (span_ends_[lane.first_span + number] <= first) ++number;
    guides_.push_back(number);
  }
  guides_.push_back(lane.num_spans - 1);
}

std::uint64_t GroupIndex::capacity(std::span<const std::uint32_t> lanes,
                                   const Groups& groups) const {
  if (groups.shared_passages.empty()) {
    std::vector<bool> served(signatures_.size());
    std::uint64_t num_served = 0;
    for (std::uint32_t lane : lanes) {
      const auto spans = std::span(spans_).subspan(lanes_[lane].first_span, lanes_[lane].num_spans);
      for (const Span& span : spans) {
        if (!served[span.signature]) num_served += signatures_[span.signature].num_groups;
        served[span.signature] = true;
      }
    }
    return num_served;
  }
  Capacity capacity(groups.num_resources());
  for (std::uint32_t lane : lanes) {
    for (std::uint64_t i = 0; i < lanes_[lane].size; ++i) {
      const Place place = locate(lane, i);
      const std::uint32_t num_turns =
          std::max(queries_->num_rows(place.query_entry), passages_->num_rows(place.passage_entry));
      for (std::uint32_t turn = 0; turn < num_turns; ++turn) {
        const Example e = example(place, turn);
        capacity.add(groups.resources(e.group, e.query_row, e.passage_row));
      }
    }
  }
  return capacity.bound();
}

GroupIndex::Place GroupIndex::locate(std::uint32_t lane_number, std::uint64_t i) const {
  const Lane& lane = lanes_[lane_number];
  // The first run whose end lies beyond i, among the few that its guide leaves.
  const std::uint32_t* ends = span_ends_.data() + lane.first_span;
  const std::uint32_t* guide = guides_.data() + lane.first_guide + (i >> lane.guide_shift);
  std::uint32_t number = guide[0];
  for (std::uint32_t n = guide[1] - number + 1; n > 1;) {
    const std::uint32_t half = n / 2;
    number += ends[number + half - 1] <= i ? half : 0;
    n -= half;
  }
  const Span& span = spans_[lane.first_span + number];
  const auto k = static_cast<std::uint32_t>(i) - (number == 0 ? 0 : ends[number - 1]);
  return {span.group + k, span.query_entry + k * span.query_stride,
          span.passage_entry + k * span.passage_stride};
}

Example GroupIndex::example(const Place& place, std::uint64_t turn) const {
  const std::uint32_t query_row = queries_->row(place.query_entry, turn);
  if (same_row_) return {place.group, query_row, query_row};
  if (!has_alternatives()) return {place.group, query_row, passages_->row(place.passage_entry, 0)};
  // Both take turns; shifted by one when all have come up, every query meets every passage in time.
  const std::uint64_t cycle =
      std::lcm(queries_->num_rows(place.query_entry), passages_->num_rows(place.passage_entry));
  return {place.group, query_row, passages_->row(place.passage_entry, turn + turn / cycle)};
}

std::uint64_t GroupIndex::num_turns(const Place& place) const {
  const std::uint64_t num_queries = queries_->num_rows(place.query_entry);
  return same_row_ ? num_queries : num_queries * passages_->num_rows(place.passage_entry);
}

std::vector<double> GroupIndex::uncrowded(const std::vector<double>& examples) const {
  constexpr double kTolerance = 1e-6;
  std::vector<double> use(signatures_.size(), 0.0);  // examples a batch of each group
  const auto for_each_span = [&](auto&& visit) {
    for (std::uint32_t lane = 0; lane < lanes_.size(); ++lane) {
      for (std::uint32_t i = 0; i < lanes_[lane].num_spans; ++i) {
        visit(lane, spans_[lanes_[lane].first_span + i].signature,
              examples[lane] / lanes_[lane].size);
      }
    }
  };
  for_each_span([&](std::uint32_t, std::uint32_t s, double each) { use[s] += each; });
  std::vector<std::vector<double>> asked(signatures_.size());  // by the lanes of crowded groups
  for_each_span([&](std::uint32_t, std::uint32_t s, double each) {
    if (use[s] > 1 + kTolerance) asked[s].push_back(each);
  });
  std::vector<double> level(signatures_.size(), 1.0);
  for (std::size_t s = 0; s < signatures_.size(); ++s) {
    // The level t with sum of min(each, t) = 1.
    std::sort(asked[s].begin(), asked[s].end());
    double left = 1.0;
    for (std::size_t i = 0; i < asked[s].size(); ++i) {
      level[s] = left / static_cast<double>(asked[s].size() - i);
      if (asked[s][i] >= level[s]) break;
      left -= asked[s][i];
    }
  }
  std::vector<double> allowed = examples;
  for_each_span([&](std::uint32_t lane, std::uint32_t s, double each) {
    if (!asked[s].empty() && each > level[s]) {
      allowed[lane] = std::min(allowed[lane], level[s] * lanes_[lane].size);
    }
  });
  return allowed;
}

}  // namespace hybrid_fast
