#include "core/mono_planner.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>

#include "core/capacity.h"
#include "core/random.h"

namespace hybrid_fast {
namespace {

LanguageStream stream_at(const MonoLanguage& place, View<std::uint32_t> rows,
                         View<std::uint32_t> groups, View<std::uint32_t> clusters,
                         View<std::uint32_t> layers, std::uint64_t key) {
  return {rows.subspan(place.first_row, place.num_rows),
          groups.empty() ? groups : groups.subspan(place.first_row, place.num_rows),
          place.num_clusters == 0 ? View<std::uint32_t>()
                                  : clusters.subspan(place.first_cluster, place.num_clusters + 1),
          layers.subspan(place.first_layer, place.num_layers + 1), key};
}

}  // namespace

MonoPlanner::MonoPlanner(const PlanIndex& index, const PlanOptions& options)
    : index_(index), batch_size_(options.batch_size), key_(derive(options.seed, 'm')) {
  list_streams(options);
  weigh_languages(options);
  weigh_sources(options);
}

void MonoPlanner::list_streams(const PlanOptions& options) {
  const IndexViews& arrays = index_.arrays();
  languages_.resize(arrays.mono_languages.size());
  const auto add = [&](std::int32_t x, std::int32_t source, const LanguageStream& stream) {
    languages_[x].streams.push_back(stream);
    languages_[x].sources.push_back(source);
    languages_[x].num_rows += stream.size();
  };
  const auto key = [&](std::int32_t x, std::int32_t source) {
    return derive(key_, static_cast<std::uint64_t>(x) << 32 | static_cast<std::uint32_t>(source));
  };
  for (std::int32_t x = 0; x < index_.summary().num_languages; ++x) {
    const MonoLanguage& place = arrays.mono_languages[x];
    languages_[x].capacity = place.capacity;
    if (place.num_rows == 0 || !options.source_weights.empty()) continue;
    add(x, -1,
        stream_at(place, arrays.mono_rows, {}, arrays.mono_clusters, arrays.mono_layers,
                  key(x, -1)));
  }
  if (options.source_weights.empty()) return;
  by_source_ = index_mono(index_, true);
  for (const auto& [x, source, place] : by_source_.streams) {
    if (options.source_weights[source] == 0) continue;
    add(x, source,
        stream_at(place, by_source_.rows, by_source_.groups, by_source_.clusters, by_source_.layers,
                  key(x, source)));
  }
  Capacity capacity(index_);
  for (Language& language : languages_) {
    language.capacity = capacity.of([&](auto&& visit) {
      for (const LanguageStream& stream : language.streams) {
        for (std::uint64_t cluster = 0; cluster < stream.num_clusters(); ++cluster) {
          for (std::uint64_t i = 0; i < stream.cluster_size(cluster); ++i) {
            const auto [row, group] = stream.member(cluster, i);
            visit({group, row, row});
          }
        }
      }
    });
  }
}

void MonoPlanner::weigh_languages(const PlanOptions& options) {
  std::vector<double> weights;
  for (std::size_t i = 0; i < languages_.size(); ++i) {
    const Language& language = languages_[i];
    const double weight = options.language_weights.empty()
                              ? weight_by_size(language.num_rows, options.exponent)
                              : options.language_weights[i];
    asked_.push_back(weight);
    weights.push_back(language.capacity >= batch_size_ ? weight : 0.0);
    if (weight > 0) largest_batch_ = std::max(largest_batch_, language.capacity);
  }
  language_cycle_ = Cycle(weights, derive(key_, 'l'));
}

void MonoPlanner::weigh_sources(const PlanOptions& options) {
  if (options.source_weights.empty()) return;
  for (std::size_t i = 0; i < languages_.size(); ++i) {
    std::vector<double> weights;
    for (std::int32_t source : languages_[i].sources) {
      weights.push_back(options.source_weights[source]);
    }
    source_cycles_.emplace_back(weights, derive(key_, i));
  }
}

bool MonoPlanner::accept(Draft& draft, const LanguageStream::Member& member) const {
  return draft.taken.add(member.code, index_.shared_texts(member.row, member.row));
}

void MonoPlanner::plan(std::uint64_t index, Draft& draft) const {
  const auto [number, turn] = language_cycle_.at(index);
  const Language& language = languages_[number];
  const std::span<std::int64_t> rows(draft.query_rows, batch_size_);
  const std::uint64_t first = turn * batch_size_;
  const LanguageStream& whole = language.streams.front();
  if (source_cycles_.empty() && !whole.clustered()) {
    // Where no batch reaches over the end of a pass, passes need not mind one another.
    whole.draw_rows(first, whole.size() % batch_size_ == 0 ? 1 : batch_size_, rows);
  } else {
    thread_local std::vector<LanguageStream::Member> members;
    thread_local std::vector<std::uint32_t> streams;
    members.resize(batch_size_);
    streams.assign(batch_size_, 0);
    if (source_cycles_.empty()) {
      whole.draw(first, batch_size_, members);
    } else {
      for (std::uint64_t i = 0; i < batch_size_; ++i) {
        const Cycle::Turn source = source_cycles_[number].at(first + i);
        streams[i] = source.child;
        language.streams[source.child].draw(source.index, batch_size_,
                                            std::span(members).subspan(i, 1));
      }
    }
    std::vector<std::uint64_t> refused;
    for (std::uint64_t i = 0; i < batch_size_; ++i) {
      rows[i] = members[i].row;
      if (!accept(draft, members[i])) refused.push_back(i);
    }
    std::vector<FreeSearch> searches(language.streams.size());
    for (std::uint64_t i : refused) {
      const std::uint64_t key = derive(derive(key_, 's'), index * batch_size_ + i);
      rows[i] = substitute(language, streams[i], key, searches, draft);
    }
  }
  std::copy(rows.begin(), rows.end(), draft.passage_rows);
}

std::uint32_t MonoPlanner::substitute(const Language& language, std::uint32_t first_stream,
                                      std::uint64_t key, std::vector<FreeSearch>& searches,
                                      Draft& draft) const {
  std::uint32_t found = 0;
  for (std::size_t k = 0; k < language.streams.size(); ++k) {
    const std::size_t number = (first_stream + k) % language.streams.size();
    const LanguageStream& stream = language.streams[number];
    const auto take = [&](std::uint64_t cluster, std::uint64_t i) {
      const LanguageStream::Member member = stream.member(cluster, i);
      found = member.row;
      return accept(draft, member);
    };
    const auto take_one = [&](std::uint64_t cluster, std::uint64_t draw) {
      return take(cluster, draw % stream.cluster_size(cluster));
    };
    const auto take_of_chunk = [&](std::uint64_t first, std::uint64_t count) {
      for (std::uint64_t c = 0; c < count; ++c) {
        for (std::uint64_t i = 0; i < stream.cluster_size(first + c); ++i) {
          if (take(first + c, i)) return c;
        }
      }
      return count;
    };
    if (!searches[number].find(stream.num_clusters(), key, take_one, take_of_chunk)) continue;
    ++(k == 0 ? draft.info.substituted_entries : draft.info.substituted_streams);
    return found;
  }
  // Capacity is a lower bound of every maximal batch, so a free row always exists.
  throw std::logic_error("mono batch could not be filled; this is a bug in hybrid_fast");
}

std::vector<Share> MonoPlanner::shares() const {
  const double total = std::accumulate(asked_.begin(), asked_.end(), 0.0);
  std::vector<Share> shares;
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(languages_.size()); ++i) {
    const Language& language = languages_[i];
    if (source_cycles_.empty() || language.streams.empty()) {
      shares.push_back({i, i, -1, language.num_rows, language.capacity, asked_[i] / total,
                        language_cycle_.shares()[i]});
      continue;
    }
    for (std::uint32_t k = 0; k < language.streams.size(); ++k) {
      const double part = source_cycles_[i].shares()[k];
      shares.push_back({i, i, language.sources[k], language.streams[k].size(), language.capacity,
                        part * asked_[i] / total, part * language_cycle_.shares()[i]});
    }
  }
  return shares;
}

}  // namespace hybrid_fast
