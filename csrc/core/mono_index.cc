#include "core/mono_index.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/capacity.h"
#include "core/order.h"
#include "core/random.h"

namespace hybrid_fast {
namespace {

// A row that can stand alone, with the group it belongs to.
struct Row {
  std::uint64_t cluster;
  std::uint32_t group;
  std::uint32_t row;
};

// Cluster of a row: its group if that has other rows here, else its first or last shared text, else
// itself. The three kinds of code are kept apart by their top bits.
std::uint64_t cluster_of(std::uint32_t group, bool alternatives, const TextCodes& texts, bool last,
                         std::uint32_t row) {
  if (alternatives) return (std::uint64_t{1} << 32) | group;
  if (texts.begin() != texts.end()) {
    return (std::uint64_t{2} << 32) | (last ? *(texts.end() - 1) : *texts.begin());
  }
  return (std::uint64_t{3} << 32) | row;
}

class MonoIndexer {
 public:
  MonoIndexer(const PlanIndex& index, bool by_source)
      : index_(index),
        by_source_(by_source),
        num_sources_(by_source ? index.summary().num_sources : 1),
        conflicts_(index.has_alternatives() || index.shares_texts()) {
    if (index.shares_texts()) capacity_.emplace(index);
  }

  MonoIndex run() {
    count_rows();
    place_rows();
    for (std::uint32_t stream = 0; stream < result_.streams.size(); ++stream) {
      if (conflicts_) {
        cluster(stream);
      } else {
        add_layer(result_.streams[stream].place, result_.streams[stream].place.num_rows);
      }
    }
    if (!by_source_) std::vector<std::uint32_t>().swap(result_.groups);
    return std::move(result_);
  }

 private:
  // A stream's key is language * num_sources_ + source.
  std::size_t num_keys() const { return index_.summary().num_languages * num_sources_; }
  std::size_t key_of(const Cell& cell, const Label& label, std::uint32_t row) const {
    if (!by_source_) return label.language();
    const std::int32_t source =
        index_.mixes_sources() ? index_.arrays().row_sources[row] : cell.source;
    return label.language() * num_sources_ + source;
  }

  // Visits (stream key, group, row) of every row that can stand alone.
  template <typename Visit>
  void for_each_row(Visit&& visit) const {
    for_each_entry(
        index_, [&](const Cell& cell, std::uint32_t group, Label label, std::uint32_t entry) {
          if ((label.uses() & kMonoExample) == 0) return;
          for (std::uint32_t i = index_.rows_begin(entry); i < index_.rows_end(entry); ++i) {
            const std::uint32_t row = index_.arrays().rows[i];
            if (index_.serves(i, label.uses(), kMonoExample))
              visit(key_of(cell, label, row), group, row);
          }
        });
  }

  void count_rows() {
    std::vector<std::uint32_t> counts(num_keys());
    for_each_row([&](std::size_t key, std::uint32_t, std::uint32_t) { ++counts[key]; });
    std::uint32_t first = 0;
    for (std::size_t key = 0; key < counts.size(); ++key) {
      if (counts[key] == 0) continue;
      const auto language = static_cast<std::int32_t>(key / num_sources_);
      const std::int32_t source = by_source_ ? static_cast<std::int32_t>(key % num_sources_) : -1;
      result_.streams.push_back({language, source, {first, counts[key], 0, 0, 0, 0, counts[key]}});
      first += counts[key];
    }
    result_.rows.resize(first);
    if (conflicts_ || by_source_) result_.groups.resize(first);
  }

  void place_rows() {
    std::vector<std::uint32_t> next(num_keys());
    for (const MonoIndex::Stream& stream : result_.streams) {
      next[stream.language * num_sources_ + std::max(stream.source, 0)] = stream.place.first_row;
    }
    for_each_row([&](std::size_t key, std::uint32_t group, std::uint32_t row) {
      const std::uint32_t i = next[key]++;
      result_.rows[i] = row;
      if (!result_.groups.empty()) result_.groups[i] = group;
    });
  }

  // Orders the rows of a stream by cluster, larger clusters first.
  void cluster(std::uint32_t stream) {
    MonoLanguage& place = result_.streams[stream].place;
    std::vector<Row> rows = rows_by_group(place, /*last_text=*/false);
    if (!by_source_) place.capacity = capacity(rows);
    Clusters clusters = sort_by_cluster(rows);
    if (clusters.size() == rows.size()) {
      // Rows without company may still conflict, by the other of their two shared texts.
      rows = rows_by_group(place, /*last_text=*/true);
      clusters = sort_by_cluster(rows);
    }
    std::stable_sort(clusters.begin(), clusters.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    write(rows, clusters, place);
  }

  // Returns the rows of a stream; of several shared texts one counts for the cluster.
  std::vector<Row> rows_by_group(const MonoLanguage& place, bool last_text) const {
    std::vector<Row> rows(place.num_rows);
    // Rows of a group stand side by side, for rows were placed in the order of entries.
    const auto group_at = [&](std::int64_t i) {
      return i < 0 || i >= place.num_rows ? UINT32_MAX : result_.groups[place.first_row + i];
    };
    for (std::int64_t i = 0; i < place.num_rows; ++i) {
      const std::uint32_t group = group_at(i), row = result_.rows[place.first_row + i];
      const bool alternatives = group == group_at(i - 1) || group == group_at(i + 1);
      const TextCodes texts = index_.shared_texts(row, row);
      rows[i] = {cluster_of(group, alternatives, texts, last_text, row), group, row};
    }
    return rows;
  }

  using Clusters = std::vector<std::pair<std::uint32_t, std::uint32_t>>;  // first row, size

  static Clusters sort_by_cluster(std::vector<Row>& rows) {
    std::stable_sort(rows.begin(), rows.end(),
                     [](const Row& a, const Row& b) { return a.cluster < b.cluster; });
    Clusters clusters;
    for (std::uint32_t i = 0; i < rows.size(); ++i) {
      if (i == 0 || rows[i].cluster != rows[i - 1].cluster) clusters.emplace_back(i, 0u);
      ++clusters.back().second;
    }
    return clusters;
  }

  void write(const std::vector<Row>& rows, const Clusters& clusters, MonoLanguage& place) {
    place.first_cluster = static_cast<std::uint32_t>(result_.clusters.size());
    std::uint32_t position = 0, first_single = 0;
    for (const auto& [first, size] : clusters) {
      if (size > 1) {
        result_.clusters.push_back(position);
        ++place.num_clusters;
        first_single = position + size;
      }
      for (std::uint32_t i = first; i < first + size; ++i, ++position) {
        result_.rows[place.first_row + position] = rows[i].row;
        result_.groups[place.first_row + position] = rows[i].group;
      }
    }
    if (place.num_clusters > 0) result_.clusters.push_back(first_single);
    std::size_t remaining = clusters.size();  // clusters of more than `layer` rows
    for (std::uint32_t layer = 0; layer < clusters.front().second; ++layer) {
      while (clusters[remaining - 1].second <= layer) --remaining;
      add_layer(place, static_cast<std::uint32_t>(remaining));
    }
  }

  void add_layer(MonoLanguage& place, std::uint32_t size) {
    if (place.num_layers == 0) {
      place.first_layer = static_cast<std::uint32_t>(result_.layers.size());
      result_.layers.push_back(0);
    }
    result_.layers.push_back(result_.layers.back() + size);
    ++place.num_layers;
  }

  // Of rows in the order of their groups.
  std::uint32_t capacity(const std::vector<Row>& rows) {
    if (!capacity_) {
      std::uint32_t num_groups = 0;
      for (std::size_t i = 0; i < rows.size(); ++i) {
        num_groups += i == 0 || rows[i].group != rows[i - 1].group ? 1 : 0;
      }
      return num_groups;
    }
    return static_cast<std::uint32_t>(capacity_->of([&](auto&& visit) {
      for (const Row& row : rows) visit({row.group, row.row, row.row});
    }));
  }

  const PlanIndex& index_;
  bool by_source_;
  std::size_t num_sources_;
  bool conflicts_;                    // whether some rows of one language may not share a batch
  std::optional<Capacity> capacity_;  // where texts are shared
  MonoIndex result_;
};

}  // namespace

MonoIndex index_mono(const PlanIndex& index, bool by_source) {
  return MonoIndexer(index, by_source).run();
}

void LanguageStream::draw(std::uint64_t position, std::uint64_t window,
                          std::span<Member> members) const {
  const std::uint64_t num_layers = layers_.size() - 1;
  while (!members.empty()) {
    const std::uint64_t pass = position / rows_.size();
    const std::uint64_t i = position % rows_.size();
    const auto end = std::upper_bound(layers_.begin(), layers_.end(), i);
    const std::uint64_t count = std::min<std::uint64_t>(members.size(), *end - i);
    const auto layer = static_cast<std::uint64_t>(end - layers_.begin()) - 1;
    const std::uint64_t first = i - layers_[layer];
    const PassOrder order(*end - layers_[layer], window, key_, pass * num_layers + layer);
    for (std::uint64_t k = 0; k < count; ++k) {
      const std::uint64_t cluster = order(first + k);
      const std::uint64_t size = cluster_size(cluster);
      const std::uint64_t turn = derive(key_ ^ cluster, pass) % size;  // where this pass begins
      members[k] = member(cluster, (turn + layer) % size);
    }
    members = members.subspan(count);
    position += count;
  }
}

void LanguageStream::draw_rows(std::uint64_t position, std::uint64_t window,
                               std::span<std::int64_t> rows) const {
  while (!rows.empty()) {
    const std::uint64_t pass = position / rows_.size();
    const std::uint64_t i = position % rows_.size();
    const std::uint64_t count = std::min<std::uint64_t>(rows.size(), rows_.size() - i);
    const PassOrder order(rows_.size(), window, key_, pass);
    // Places first, then rows: accesses to memory overlap where no branch stands between them.
    for (std::uint64_t k = 0; k < count; ++k) rows[k] = static_cast<std::int64_t>(order(i + k));
    for (std::uint64_t k = 0; k < count; ++k) rows[k] = rows_[rows[k]];
    rows = rows.subspan(count);
    position += count;
  }
}

}  // namespace hybrid_fast
