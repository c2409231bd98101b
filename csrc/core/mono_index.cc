#include "core/mono_index.h"

#include <algorithm>
#include <map>

#include "core/order.h"
#include "core/random.h"

namespace hybrid_fast {
namespace {

// Cluster of a row: its group if that has other rows here, else its shared passage, else itself.
// The three kinds of code are kept apart by their top bits.
std::uint64_t cluster_of(std::uint32_t group, bool alternatives, std::uint32_t passage,
                         std::uint32_t row) {
  if (alternatives) return (std::uint64_t{1} << 32) | group;
  if (passage != 0) return (std::uint64_t{2} << 32) | passage;
  return (std::uint64_t{3} << 32) | row;
}

}  // namespace

MonoLane::MonoLane(const std::vector<Member>& members, std::uint64_t key) : key_(key) {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> clusters;  // first member, size
  for (std::uint32_t i = 0; i < members.size(); ++i) {
    if (i == 0 || members[i].cluster != members[i - 1].cluster) clusters.emplace_back(i, 0u);
    ++clusters.back().second;
  }
  std::stable_sort(clusters.begin(), clusters.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  rows_.reserve(members.size());
  const bool singletons = clusters.front().second == 1;
  for (const auto& [first, size] : clusters) {
    if (!singletons) starts_.push_back(static_cast<std::uint32_t>(rows_.size()));
    for (std::uint32_t i = first; i < first + size; ++i) rows_.push_back(members[i].row);
  }
  if (!singletons) starts_.push_back(static_cast<std::uint32_t>(rows_.size()));
  layers_.push_back(0);
  std::size_t remaining = clusters.size();  // clusters of more than `layer` rows
  for (std::uint32_t layer = 0; layer < clusters.front().second; ++layer) {
    while (clusters[remaining - 1].second <= layer) --remaining;
    layers_.push_back(layers_.back() + remaining);
  }
}

void MonoLane::draw(std::uint64_t position, std::uint64_t window,
                    std::span<std::int64_t> rows) const {
  while (!rows.empty()) {
    const std::uint64_t pass = position / rows_.size();
    const std::uint64_t i = position % rows_.size();
    const auto end = std::upper_bound(layers_.begin(), layers_.end(), i);
    const std::uint64_t count = std::min<std::uint64_t>(rows.size(), *end - i);
    const auto layer = static_cast<std::uint64_t>(end - layers_.begin()) - 1;
    draw_layer(pass, layer, i - layers_[layer], window, rows.first(count));
    rows = rows.subspan(count);
    position += count;
  }
}

void MonoLane::draw_layer(std::uint64_t pass, std::uint64_t layer, std::uint64_t first,
                          std::uint64_t window, std::span<std::int64_t> rows) const {
  const std::uint64_t num_layers = layers_.size() - 1;
  const PassOrder order(layers_[layer + 1] - layers_[layer], window, key_,
                        pass * num_layers + layer);
  if (starts_.empty()) {
    for (std::uint64_t i = 0; i < rows.size(); ++i) rows[i] = rows_[order(first + i)];
    return;
  }
  for (std::uint64_t i = 0; i < rows.size(); ++i) {
    const std::uint64_t cluster = order(first + i);
    const std::uint64_t size = starts_[cluster + 1] - starts_[cluster];
    const std::uint64_t turn = derive(key_ ^ cluster, pass) % size;  // where this pass begins
    rows[i] = rows_[starts_[cluster] + (turn + layer) % size];
  }
}

std::vector<MonoLanguage> index_languages(const Columns& columns, const Groups& groups,
                                          const std::vector<double>& source_weights,
                                          std::uint64_t key) {
  const bool by_source = !source_weights.empty();
  const auto usable = [&](std::uint32_t row) {
    return (columns.uses[row] & kMonoExample) != 0 &&
           (!by_source || source_weights[columns.sources[row]] > 0);
  };
  std::vector<MonoLanguage> languages(columns.num_languages);
  std::map<std::pair<std::int32_t, std::int32_t>, std::vector<MonoLane::Member>> lanes;
  std::vector<std::uint32_t> count(columns.num_languages, 0);  // rows of one group by language
  for (std::uint32_t group = 0; group < groups.size(); ++group) {
    const auto rows = groups.rows_of(group);
    for (std::uint32_t row : rows) {
      if (usable(row) && ++count[columns.languages[row]] == 1) {
        ++languages[columns.languages[row]].capacity;  // groups; less below if passages are shared
      }
    }
    for (std::uint32_t row : rows) {
      if (!usable(row)) continue;
      const std::int32_t language = columns.languages[row];
      const std::int32_t source = by_source ? columns.sources[row] : -1;
      lanes[{language, source}].push_back(
          {cluster_of(group, count[language] > 1, groups.shared_passage(row), row), group, row});
      ++languages[language].num_rows;
    }
    for (std::uint32_t row : rows) count[columns.languages[row]] = 0;
  }
  if (!groups.shared_passages.empty()) {
    for (std::int32_t language = 0; language < columns.num_languages; ++language) {
      Capacity capacity(groups.num_resources());
      for (auto lane = lanes.lower_bound({language, -1});
           lane != lanes.end() && lane->first.first == language; ++lane) {
        for (const MonoLane::Member& member : lane->second) {
          capacity.add(groups.resources(member.group, member.row, member.row));
        }
      }
      languages[language].capacity = capacity.bound();
    }
  }
  for (auto& [place, members] : lanes) {
    std::stable_sort(members.begin(), members.end(),
                     [](const auto& a, const auto& b) { return a.cluster < b.cluster; });
    const auto [language, source] = place;
    const std::uint64_t label =
        static_cast<std::uint64_t>(language) << 32 | static_cast<std::uint32_t>(source);
    languages[language].lanes.emplace_back(members, derive(key, label));
    languages[language].lane_sources.push_back(source);
    release(members);
  }
  return languages;
}

}  // namespace hybrid_fast
