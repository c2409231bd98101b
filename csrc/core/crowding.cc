#include "core/crowding.h"

#include <algorithm>

namespace hybrid_fast {
namespace {

class Crowding {
 public:
  Crowding(const PlanIndex& index, std::span<const Lane> lanes, bool same_row)
      : index_(index), lanes_(lanes), same_row_(same_row) {
    const std::size_t num_languages = index.summary().num_languages;
    first_lanes_.resize(num_languages * num_languages + 1);
    for (std::uint32_t lane = 0; lane < lanes.size(); ++lane) {
      const Pair& pair = lanes[lane].pair;
      std::uint32_t& first =
          first_lanes_[pair.query_language * num_languages + pair.passage_language];
      if (first == 0) first = lane + 1;
    }
  }

  // What each lane may serve of `examples` a batch without a crowded group.
  std::vector<double> allowed(const std::vector<double>& examples) {
    each_.clear();
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      each_.push_back(examples[lane] / lanes_[lane].size);
    }
    allowed_ = examples;
    const std::vector<double> most = most_by_cell();
    for (std::size_t c = 0; c < most.size(); ++c) {
      if (most[c] <= 1 + kTolerance) continue;
      const Cell& cell = index_.arrays().cells[c];
      const std::uint32_t num_kinds = cell.mixed() ? cell.num_groups : 1;  // else all are alike
      for (std::uint32_t k = 0; k < num_kinds; ++k) lower(cell, cell.first_group + k);
    }
    return allowed_;
  }

 private:
  static constexpr double kTolerance = 1e-6;

  // By cell, an upper bound of what is asked of any of its groups: all that its pairs ask.
  std::vector<double> most_by_cell() const {
    std::vector<double> most(index_.arrays().cells.size());
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      const Pair& pair = lanes_[lane].pair;
      for (const Span& span : index_.arrays().spans.subspan(pair.first_span, pair.num_spans)) {
        const std::int32_t source = lanes_[lane].source;
        if (source >= 0 && source != index_.arrays().cells[span.cell].source) continue;
        most[span.cell] += each_[lane];
      }
    }
    return most;
  }

  std::uint32_t lane_of(std::int32_t x, std::int32_t y, std::int32_t source) const {
    std::uint32_t lane = first_lanes_[x * index_.summary().num_languages + y] - 1;
    while (lanes_[lane].source >= 0 && lanes_[lane].source != source) ++lane;
    return lane;
  }

  // Cuts the lanes that ask more of a crowded group than the level t with sum of min(each, t) = 1.
  void lower(const Cell& cell, std::uint32_t group) {
    served_.clear();
    const auto labels = index_.labels(cell, group);
    double use = 0;
    for (const Label& query : labels) {
      if ((query.uses() & (same_row_ ? kMixedExample : kCrossQuery)) == 0) continue;
      for (const Label& passage : labels) {
        if ((passage.uses() & (same_row_ ? kMixedExample : kCrossPassage)) == 0) continue;
        if ((query.language() == passage.language()) != same_row_) continue;
        const std::uint32_t lane = lane_of(query.language(), passage.language(), cell.source);
        served_.push_back(lane);
        use += each_[lane];
      }
    }
    if (use <= 1 + kTolerance) return;
    std::ranges::sort(served_, {}, [&](std::uint32_t lane) { return each_[lane]; });
    double left = 1.0, level = 1.0;
    for (std::size_t i = 0; i < served_.size(); ++i) {
      level = left / static_cast<double>(served_.size() - i);
      if (each_[served_[i]] >= level) break;
      left -= each_[served_[i]];
    }
    for (std::uint32_t lane : served_) {
      if (each_[lane] > level) {
        allowed_[lane] = std::min(allowed_[lane], level * lanes_[lane].size);
      }
    }
  }

  const PlanIndex& index_;
  std::span<const Lane> lanes_;
  bool same_row_;
  std::vector<std::uint32_t> first_lanes_;  // by pair of languages: its first lane + 1; 0: none
  std::vector<double> each_;                // by lane: examples a batch of each of its groups
  std::vector<double> allowed_;
  std::vector<std::uint32_t> served_;  // lanes of one group
};

}  // namespace

std::vector<double> uncrowded(const PlanIndex& index, std::span<const Lane> lanes, bool same_row,
                              std::uint64_t batch_size, std::vector<double> weights) {
  // Lanes cut once stay at what they may serve; the rest share what is left by their weights.
  constexpr int kMostRounds = 100;
  Crowding crowding(index, lanes, same_row);
  std::vector<bool> cut(weights.size(), false);
  for (int round = 0; round < kMostRounds; ++round) {
    double weight_left = 0, examples_left = static_cast<double>(batch_size);
    for (std::size_t lane = 0; lane < weights.size(); ++lane) {
      if (cut[lane]) {
        examples_left -= weights[lane];
      } else {
        weight_left += weights[lane];
      }
    }
    if (weight_left <= 0) break;
    std::vector<double> examples(weights);  // a batch
    for (std::size_t lane = 0; lane < weights.size(); ++lane) {
      if (!cut[lane]) examples[lane] *= examples_left / weight_left;
    }
    const std::vector<double> allowed = crowding.allowed(examples);
    const bool crowded = allowed != examples;
    if (crowded || round > 0) weights = allowed;
    if (!crowded) break;
    for (std::size_t lane = 0; lane < weights.size(); ++lane) {
      if (allowed[lane] != examples[lane]) cut[lane] = true;
    }
  }
  return weights;
}

}  // namespace hybrid_fast
