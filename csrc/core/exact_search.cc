#include "core/exact_search.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "core/team.h"

namespace hybrid_fast {
namespace {

// Products of a tile, which stay in a cache until they are read; more candidates at a time for few
// queries, so that threads are called less often.
constexpr std::int64_t kTile = 3 << 19;
constexpr std::int64_t kFewestColumns = 3 << 9, kMostColumns = 1 << 14;

struct Hit {
  float score;
  std::int64_t row;
};

bool comes_before(const Hit& a, const Hit& b) {
  return a.score > b.score || (a.score == b.score && a.row < b.row);
}

// The place of the next score that is not at most `lowest`, or the end; many are passed over at
// once.
std::int64_t next_above(const float* scores, std::int64_t begin, std::int64_t end, float lowest) {
  constexpr std::int64_t kStep = 32;
  for (; begin + kStep <= end; begin += kStep) {
    int above = 0;
    for (std::int64_t i = 0; i < kStep; ++i) above |= !(scores[begin + i] <= lowest);
    if (above != 0) break;
  }
  while (begin < end && scores[begin] <= lowest) ++begin;
  return begin;
}

// The best hits of one query so far, and up to as many that may be: sorted out when there are 2 k.
class BestHits {
 public:
  explicit BestHits(std::size_t k) : k_(k) {}

  // Takes scores of rows from `first` on, which come after all rows before.
  void add(const float* scores, std::int64_t count, std::int64_t first) {
    std::int64_t i = 0;
    while ((i = next_above(scores, i, count, lowest_)) < count) {
      kept_.push_back({scores[i], first + i});
      if (kept_.size() == 2 * k_) keep_best();
      ++i;
    }
  }

  void write(float* scores, std::int64_t* rows) {
    std::partial_sort(kept_.begin(), kept_.begin() + k_, kept_.end(), comes_before);
    for (std::size_t i = 0; i < k_; ++i) {
      scores[i] = kept_[i].score;
      rows[i] = kept_[i].row;
    }
  }

 private:
  void keep_best() {
    const auto last = kept_.begin() + (k_ - 1);
    std::nth_element(kept_.begin(), last, kept_.end(), comes_before);
    lowest_ = last->score;
    kept_.resize(k_);
  }

  std::size_t k_;
  // A later row with this score comes after k others; at first none is known to.
  float lowest_ = std::numeric_limits<float>::quiet_NaN();
  std::vector<Hit> kept_;
};

}  // namespace

void search(const FloatMatrix& queries, const FloatMatrix& candidates, std::int64_t k,
            float* best_scores, std::int64_t* best_rows, int num_threads) {
  const std::int64_t num_queries = queries.num_rows, dim = candidates.num_columns;
  if (num_queries == 0 || k == 0) return;
  const auto count = static_cast<std::size_t>(num_queries);
  std::vector<BestHits> best(count, BestHits(static_cast<std::size_t>(k)));
  const std::int64_t step = std::clamp(kTile / num_queries, kFewestColumns, kMostColumns);
  std::vector<float> tile(count * std::min(step, candidates.num_rows));
  for (std::int64_t first = 0; first < candidates.num_rows; first += step) {
    const std::int64_t columns = std::min(step, candidates.num_rows - first);
    // The transpose of these candidates.
    const FloatMatrix part{candidates.data + first * candidates.stride, dim, columns,
                           candidates.step, candidates.stride};
    multiply_float(queries, part, tile.data(), /*add=*/false, /*bias=*/nullptr, num_threads);
    parallel_for_in_team(count, num_queries * columns, num_threads, [&](std::size_t query) {
      best[query].add(tile.data() + query * columns, columns, first);
    });
  }
  parallel_for_in_team(count, num_queries * k, num_threads, [&](std::size_t query) {
    best[query].write(best_scores + query * k, best_rows + query * k);
  });
}

}  // namespace hybrid_fast
