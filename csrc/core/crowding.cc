#include "core/crowding.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace hybrid_fast {
namespace {

class Crowding {
 public:
  Crowding(const PlanIndex& index, const PairStreams& streams, bool same_row)
      : index_(index), streams_(streams), same_row_(same_row) {}

  // What each stream may serve of `examples` a batch without a crowded group: the max-min fair
  // division of the groups, by progressive filling (Bertsekas and Gallager 1992, section 6.5.2).
  std::vector<double> allowed(const std::vector<double>& examples) {
    each_.clear();
    for (std::size_t stream = 0; stream < streams_.size(); ++stream) {
      each_.push_back(examples[stream] / streams_[stream].size);
    }
    find_crowded();
    std::vector<double> allowed = examples;
    fixed_.assign(streams_.size(), false);
    const double step = crowded_.size() > kMany ? kCoarseStep : kFineStep;
    while (!crowded_.empty()) {
      std::vector<double> levels;
      for (const std::vector<std::uint32_t>& streams : crowded_) {
        levels.push_back(level_of(streams));
      }
      const double lowest = *std::ranges::min_element(levels);
      if (lowest == kNoLevel) break;
      // Levels of nearly the same height are reached together.
      for (std::size_t i = 0; i < crowded_.size(); ++i) {
        if (levels[i] > lowest * (1 + step)) continue;
        for (std::uint32_t stream : crowded_[i]) {
          if (fixed_[stream]) continue;
          fixed_[stream] = true;
          if (each_[stream] <= lowest) continue;
          each_[stream] = lowest;
          allowed[stream] = lowest * streams_[stream].size;
        }
      }
    }
    return allowed;
  }

 private:
  static constexpr double kTolerance = 1e-6;
  static constexpr std::size_t kMany = 1000;
  static constexpr double kFineStep = 1e-9, kCoarseStep = 1e-3;
  static constexpr double kNoLevel = std::numeric_limits<double>::infinity();

  // The streams of each group that is asked for more than once a batch; of groups that are alike,
  // one.
  void find_crowded() {
    crowded_.clear();
    const std::vector<double> most = most_by_cell();
    for (std::size_t c = 0; c < most.size(); ++c) {
      if (most[c] <= 1 + kTolerance) continue;
      const Cell& cell = index_.arrays().cells[c];
      const std::uint32_t num_kinds = cell.mixed() ? cell.num_groups : 1;  // else all are alike
      for (std::uint32_t k = 0; k < num_kinds; ++k) add_if_crowded(cell, cell.first_group + k);
    }
  }

  // By cell, an upper bound of what is asked of any of its groups: all that its pairs ask.
  std::vector<double> most_by_cell() const {
    std::vector<double> most(index_.arrays().cells.size());
    for (std::size_t stream = 0; stream < streams_.size(); ++stream) {
      const Pair& pair = streams_[stream].pair;
      for (const Span& span : index_.arrays().spans.subspan(pair.first_span, pair.num_spans)) {
        const std::int32_t source = streams_[stream].source;
        if (source >= 0 && source != index_.arrays().cells[span.cell].source) continue;
        most[span.cell] += each_[stream];
      }
    }
    return most;
  }

  void add_if_crowded(const Cell& cell, std::uint32_t group) {
    std::vector<std::uint32_t> streams;
    const auto labels = index_.labels(cell, group);
    double use = 0;
    for (const Label& query : labels) {
      if ((query.uses() & (same_row_ ? kMixedExample : kCrossQuery)) == 0) continue;
      for (const Label& passage : labels) {
        if ((passage.uses() & (same_row_ ? kMixedExample : kCrossPassage)) == 0) continue;
        if ((query.language() == passage.language()) != same_row_) continue;
        const auto stream = streams_.find(query.language(), passage.language(), cell.source);
        if (!stream || each_[*stream] == 0) continue;
        streams.push_back(*stream);
        use += each_[*stream];
      }
    }
    if (use > 1 + kTolerance) crowded_.push_back(std::move(streams));
  }

  // The t with sum of fixed streams + sum of min(each, t) over the others = 1.
  double level_of(std::span<const std::uint32_t> streams) {
    open_.clear();
    double left = 1.0, asked = 0.0;
    for (std::uint32_t stream : streams) {
      if (fixed_[stream]) {
        left -= each_[stream];
      } else {
        open_.push_back(each_[stream]);
        asked += each_[stream];
      }
    }
    if (asked <= left + kTolerance) return kNoLevel;
    std::ranges::sort(open_);
    double level = 0.0;
    for (std::size_t i = 0; i < open_.size(); ++i) {
      level = std::max(0.0, left) / static_cast<double>(open_.size() - i);
      if (open_[i] >= level) break;
      left -= open_[i];
    }
    return level;
  }

  const PlanIndex& index_;
  const PairStreams& streams_;
  bool same_row_;
  std::vector<double> each_;  // by stream: examples a batch of each of its groups
  std::vector<bool> fixed_;   // by stream: whether a full group holds it where it is
  std::vector<std::vector<std::uint32_t>> crowded_;
  std::vector<double> open_;
};

}  // namespace

std::vector<double> uncrowded(const PlanIndex& index, const PairStreams& streams, bool same_row,
                              std::uint64_t batch_size, std::vector<double> weights) {
  constexpr int kMostRounds = 100;
  constexpr double kRounding = 1e-9;
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  Crowding crowding(index, streams, same_row);
  double scale = static_cast<double>(batch_size) / total;  // examples a batch by weight
  for (int round = 0;; ++round) {
    std::vector<double> wanted(weights);
    for (double& examples : wanted) examples *= scale;
    std::vector<double> allowed = crowding.allowed(wanted);
    if (allowed == wanted && round == 0) return weights;
    double left = static_cast<double>(batch_size), weight_left = 0;
    for (std::size_t stream = 0; stream < weights.size(); ++stream) {
      if (allowed[stream] < wanted[stream]) {
        left -= allowed[stream];
      } else {
        weight_left += weights[stream];
      }
    }
    // What the cut streams leave goes to the others, until they are cut, too, or have it all.
    if (weight_left <= 0 || left / weight_left <= scale * (1 + kRounding) || round == kMostRounds) {
      return allowed;
    }
    scale = left / weight_left;
  }
}

}  // namespace hybrid_fast
