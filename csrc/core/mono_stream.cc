#include "core/mono_stream.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>

#include "core/random.h"

namespace hybrid_fast {

MonoStream::MonoStream(const Columns& columns, const Groups& groups, const PlanOptions& options)
    : groups_(groups),
      batch_size_(options.batch_size),
      key_(derive(options.seed, 'm')),
      languages_(index_languages(columns, groups, options.source_weights, key_)) {
  weigh_languages(options);
  weigh_sources(options);
  const bool alternatives =
      std::any_of(languages_.begin(), languages_.end(),
                  [](const MonoLanguage& l) { return l.capacity < l.num_rows; });
  if (!alternatives && source_cycles_.empty()) return;
  group_of_.resize(columns.size());
  for (std::uint32_t group = 0; group < groups.size(); ++group) {
    for (std::uint32_t row : groups.rows_of(group)) group_of_[row] = group;
  }
}

void MonoStream::weigh_languages(const PlanOptions& options) {
  std::vector<double> weights;
  for (std::size_t i = 0; i < languages_.size(); ++i) {
    const MonoLanguage& language = languages_[i];
    const double weight = options.language_weights.empty()
                              ? power_law(language.num_rows, options.exponent)
                              : options.language_weights[i];
    asked_.push_back(weight);
    weights.push_back(language.capacity >= batch_size_ ? weight : 0.0);
    if (weight > 0) largest_batch_ = std::max(largest_batch_, language.capacity);
  }
  language_cycle_ = Cycle(weights, derive(key_, 'l'));
}

void MonoStream::weigh_sources(const PlanOptions& options) {
  if (options.source_weights.empty()) return;
  for (std::size_t i = 0; i < languages_.size(); ++i) {
    std::vector<double> weights;
    for (std::int32_t source : languages_[i].lane_sources) {
      weights.push_back(options.source_weights[source]);
    }
    source_cycles_.emplace_back(weights, derive(key_, i));
  }
}

bool MonoStream::accept(Draft& draft, std::uint32_t row) const {
  return draft.taken.add(group_of_[row], 0, groups_.shared_passage(row));
}

void MonoStream::plan(std::uint64_t index, Draft& draft) const {
  const auto [language, turn] = language_cycle_.at(index);
  const std::vector<MonoLane>& lanes = languages_[language].lanes;
  const std::span<std::int64_t> rows(draft.query_rows, batch_size_);
  const std::uint64_t first = turn * batch_size_;
  std::vector<std::uint32_t> lane_of(source_cycles_.empty() ? 0 : batch_size_);
  if (source_cycles_.empty()) {
    // Where no batch reaches over the end of a pass, passes need not mind one another.
    const MonoLane& lane = lanes.front();
    const bool aligned = !lane.clustered() && lane.size() % batch_size_ == 0;
    lane.draw(first, aligned ? 1 : batch_size_, rows);
  } else {
    for (std::uint64_t i = 0; i < batch_size_; ++i) {
      const Cycle::Turn source = source_cycles_[language].at(first + i);
      lane_of[i] = source.child;
      lanes[source.child].draw(source.index, batch_size_, rows.subspan(i, 1));
    }
  }
  if (!group_of_.empty()) {
    for (std::uint64_t i = 0; i < batch_size_; ++i) {
      if (accept(draft, static_cast<std::uint32_t>(rows[i]))) continue;
      const std::uint32_t lane = lane_of.empty() ? 0 : lane_of[i];
      rows[i] = substitute(language, lane, index * batch_size_ + i, draft);
    }
  }
  std::copy(rows.begin(), rows.end(), draft.passage_rows);
}

std::uint32_t MonoStream::substitute(std::uint32_t language, std::uint32_t first_lane,
                                     std::uint64_t slot, Draft& draft) const {
  const std::vector<MonoLane>& lanes = languages_[language].lanes;
  const std::uint64_t key = derive(derive(key_, 's'), slot);
  std::uint32_t found = 0;
  for (std::size_t k = 0; k < lanes.size(); ++k) {
    const MonoLane& lane = lanes[(first_lane + k) % lanes.size()];
    const auto take = [&](std::uint64_t i, std::uint64_t) {
      found = lane.row(i);
      return accept(draft, found);
    };
    if (!find_free(lane.size(), key, take)) continue;
    ++(k == 0 ? draft.info.substituted_entries : draft.info.substituted_lanes);
    return found;
  }
  // Capacity is a lower bound of every maximal batch, so a free row always exists.
  throw std::logic_error("mono batch could not be filled; this is a defect of hybrid_fast");
}

std::vector<Share> MonoStream::shares() const {
  const double total = std::accumulate(asked_.begin(), asked_.end(), 0.0);
  std::vector<Share> shares;
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(languages_.size()); ++i) {
    const MonoLanguage& language = languages_[i];
    if (source_cycles_.empty() || language.lanes.empty()) {
      shares.push_back({i, i, -1, language.num_rows, language.capacity, asked_[i] / total,
                        language_cycle_.shares()[i]});
      continue;
    }
    for (std::uint32_t k = 0; k < language.lanes.size(); ++k) {
      const double part = source_cycles_[i].shares()[k];
      shares.push_back({i, i, language.lane_sources[k], language.lanes[k].size(), language.capacity,
                        part * asked_[i] / total, part * language_cycle_.shares()[i]});
    }
  }
  return shares;
}

}  // namespace hybrid_fast
