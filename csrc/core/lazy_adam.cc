#include "core/lazy_adam.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/team.h"

// Loops over a row with the widest instructions that the processor has. They are chosen while the
// program is loaded, when the checks for data races do not work yet; the results are the same.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && \
    !defined(HYBRID_FAST_CHECKS_RACES)
#define HYBRID_FAST_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define HYBRID_FAST_WIDE
#endif

namespace hybrid_fast {
namespace {

constexpr std::int64_t kRowsOfPiece = 32;
constexpr std::int64_t kBlock = 128;        // columns whose values stay in the cache or registers
constexpr std::int64_t kMovesOfBlock = 64;  // that they get one after another

// Powers of a number, the small ones from a table.
class Powers {
 public:
  Powers(double base, std::int64_t num_small) : base_(base), small_(num_small + 1, 1.0) {
    for (std::size_t i = 1; i < small_.size(); ++i) small_[i] = small_[i - 1] * base;
  }

  double operator()(std::int64_t exponent) const {
    const auto i = static_cast<std::size_t>(exponent);
    return i < small_.size() ? small_[i] : std::pow(base_, static_cast<double>(exponent));
  }

 private:
  double base_;
  std::vector<double> small_;
};

// Updates after a gradient, until all moves still to come are together less than the rounding of
// the largest one: learning rate and correction of the bias aside, each is beta1 / sqrt(beta2) of
// the one before.
template <typename T>
std::int64_t fading_time(double beta1, double beta2) {
  const double ratio = beta1 / std::sqrt(beta2);
  const double rounding = std::numeric_limits<T>::epsilon() / 2;
  return static_cast<std::int64_t>(std::ceil(std::log(rounding * (1 - ratio)) / std::log(ratio)));
}

// The weights and moments of a row.
template <typename T>
struct Row {
  T* __restrict weights;
  T* __restrict first_moments;
  T* __restrict second_moments;
  std::int64_t dim;
};

// Multiplies weights by one factor after another.
template <typename T>
HYBRID_FAST_WIDE void decay(T* weights, std::int64_t dim, std::span<const T> factors) {
  for (std::int64_t begin = 0; begin < dim; begin += kBlock) {
    const std::int64_t size = std::min(kBlock, dim - begin);
    T w[kBlock] = {};
    std::copy_n(weights + begin, size, w);
    for (const T factor : factors) {
      for (std::int64_t d = 0; d < kBlock; ++d) w[d] *= factor;
    }
    std::copy_n(w, size, weights + begin);
  }
}

// An update without a gradient.
template <typename T>
struct Move {
  T kept;  // of the weights
  T rate;  // of the first moments
  T root;  // of the roots of the second moments
};

// Moves weights by one update after another.
template <typename T>
HYBRID_FAST_WIDE void move(const Row<T>& row, std::span<const Move<T>> moves, T epsilon) {
  for (std::int64_t begin = 0; begin < row.dim; begin += kBlock) {
    const std::int64_t size = std::min(kBlock, row.dim - begin);
    T w[kBlock], m[kBlock], roots[kBlock];
    for (std::int64_t d = 0; d < size; ++d) {
      w[d] = row.weights[begin + d];
      m[d] = row.first_moments[begin + d];
      roots[d] = std::sqrt(row.second_moments[begin + d]);
    }
    for (const Move<T>& move : moves) {
      for (std::int64_t d = 0; d < size; ++d) {
        w[d] = move.kept * w[d] - move.rate * m[d] / (roots[d] * move.root + epsilon);
      }
    }
    std::copy_n(w, size, row.weights + begin);
  }
}

// An update with a gradient: what is kept of weights and moments, and its other factors.
template <typename T>
struct Step {
  T kept, rate, root, epsilon;
  T kept1, new1;  // of the first moments and the gradient
  T kept2, new2;  // of the second moments and its square
};

template <typename T>
HYBRID_FAST_WIDE void update(const Row<T>& row, const T* __restrict gradient, const Step<T>& step) {
  for (std::int64_t d = 0; d < row.dim; ++d) {
    const T g = gradient[d];
    const T m = step.kept1 * row.first_moments[d] + step.new1 * g;
    const T v = step.kept2 * row.second_moments[d] + step.new2 * g * g;
    row.first_moments[d] = m;
    row.second_moments[d] = v;
    row.weights[d] =
        step.kept * row.weights[d] - step.rate * m / (std::sqrt(v) * step.root + step.epsilon);
  }
}

// The updates of one row of a table after another.
template <typename T>
class RowUpdates {
 public:
  RowUpdates(const AdamTable<T>& table, const AdamHistory& history)
      : table_(table),
        history_(history),
        epsilon_(static_cast<T>(history.epsilon)),
        fading_time_(std::min(fading_time<T>(history.beta1, history.beta2), history.last())),
        first_(history.beta1, fading_time_),
        second_(history.beta2, fading_time_),
        second_root_(std::sqrt(history.beta2), fading_time_) {
    for (const AdamUpdate& update : history.updates) {
      kept_.push_back(static_cast<T>(update.kept));
      decays_ = decays_ || kept_.back() != 1;
    }
  }

  // Gives the weights of a row all updates after `done` up to `last`, which had no gradient of it.
  void miss(std::int64_t row, std::int64_t done, std::int64_t last) const {
    const std::int64_t place = table_.places[row];
    const std::int64_t since = place < 0 ? 0 : table_.moment_steps[place];
    const std::int64_t faded = since == 0 ? done : std::clamp(since + fading_time_, done, last);
    for (std::int64_t first = done + 1; first <= faded; first += kMovesOfBlock) {
      const std::int64_t count = std::min(kMovesOfBlock, faded + 1 - first);
      Move<T> moves[kMovesOfBlock];
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t age = first + i - since;
        const AdamUpdate& update = history_.updates[first + i - 1 - history_.begin];
        moves[i] = {static_cast<T>(update.kept), static_cast<T>(update.rate * first_(age)),
                    static_cast<T>(update.root * second_root_(age))};
      }
      move(this->row(row), std::span<const Move<T>>(moves, count), epsilon_);
    }
    if (!decays_) return;
    const std::span<const T> kept = kept_;
    decay(table_.weights + row * table_.dim, table_.dim,
          kept.subspan(faded - history_.begin, last - faded));
  }

  // Gives a row the last update, of which it has a gradient.
  void update(std::int64_t row, const T* gradient) const {
    std::int32_t& moment_step = table_.moment_steps[table_.places[row]];
    const AdamUpdate& last = history_.updates.back();
    const std::int64_t age = history_.last() - moment_step;
    const Step<T> step = {static_cast<T>(last.kept),    static_cast<T>(last.rate),
                          static_cast<T>(last.root),    epsilon_,
                          static_cast<T>(first_(age)),  static_cast<T>(1 - history_.beta1),
                          static_cast<T>(second_(age)), static_cast<T>(1 - history_.beta2)};
    hybrid_fast::update(this->row(row), gradient, step);
    moment_step = static_cast<std::int32_t>(history_.last());
  }

 private:
  Row<T> row(std::int64_t row) const {
    const std::int64_t place = table_.places[row], dim = table_.dim;
    return {table_.weights + row * dim, table_.first_moments + place * dim,
            table_.second_moments + place * dim, dim};
  }

  const AdamTable<T>& table_;
  const AdamHistory& history_;
  std::vector<T> kept_;  // of each update of the history
  bool decays_ = false;
  T epsilon_;
  std::int64_t fading_time_;
  Powers first_, second_, second_root_;
};

void require_row(std::int64_t row, std::int64_t least, std::int64_t num_rows, const char* order) {
  if (row < least || row >= num_rows) {
    throw std::invalid_argument("row " + std::to_string(row) + " lies outside [" +
                                std::to_string(least) + ", " + std::to_string(num_rows) + ")" +
                                order);
  }
}

// What a saved state says of a row is believed only if the history can go on from it.
template <typename T>
void require_steps(const AdamTable<T>& table, const AdamHistory& history, std::int64_t row) {
  const std::int32_t place = table.places[row], weights = table.weight_steps[row];
  if (place < -1 || place >= table.num_places) {
    throw std::invalid_argument("row " + std::to_string(row) + " has its moments at " +
                                std::to_string(place) + " of " + std::to_string(table.num_places));
  }
  const std::int32_t moments = place < 0 ? 0 : table.moment_steps[place];
  if (history.begin <= weights && weights <= history.last() && 0 <= moments && moments <= weights) {
    return;
  }
  throw std::invalid_argument(
      "row " + std::to_string(row) + " has had updates up to " + std::to_string(weights) +
      ", its moments up to " + std::to_string(moments) + "; the history goes on from update " +
      std::to_string(history.begin) + " to " + std::to_string(history.last()));
}

// The last update of a history, which rows count in 32 bits.
std::int32_t last_step(const AdamHistory& history) {
  if (history.begin < 0 || history.last() > std::numeric_limits<std::int32_t>::max()) {
    throw std::invalid_argument("the history ends with update " + std::to_string(history.last()) +
                                "; fewer than 2^31 can be counted");
  }
  return static_cast<std::int32_t>(history.last());
}

// Calls work(i) for i in [0, count) on several threads; each costs about `size` entries.
template <typename Work>
void for_each_row(std::int64_t count, std::int64_t size, int num_threads, const Work& work) {
  const std::int64_t num_pieces = (count + kRowsOfPiece - 1) / kRowsOfPiece;
  const auto pieces = static_cast<std::size_t>(num_pieces);
  parallel_for_in_team(pieces, count * size, num_threads, [&](std::size_t piece) {
    const std::int64_t first = static_cast<std::int64_t>(piece) * kRowsOfPiece;
    for (std::int64_t i = first; i < std::min(first + kRowsOfPiece, count); ++i) {
      work(i);
    }
  });
}

}  // namespace

template <typename T>
void catch_up(const AdamTable<T>& table, const AdamHistory& history,
              std::span<const std::int64_t> rows, int num_threads) {
  const std::int32_t last = last_step(history);
  for (const std::int64_t row : rows) {
    require_row(row, 0, table.num_rows, "");
    require_steps(table, history, row);
  }
  std::vector<std::pair<std::int64_t, std::int32_t>> late;  // rows, and the last update they had
  for (const std::int64_t row : rows) {
    if (table.weight_steps[row] == last) continue;
    late.emplace_back(row, std::exchange(table.weight_steps[row], last));
  }
  if (late.empty()) return;
  const RowUpdates<T> updates(table, history);
  for_each_row(static_cast<std::int64_t>(late.size()), table.dim, num_threads,
               [&](std::int64_t i) { updates.miss(late[i].first, late[i].second, last); });
}

template <typename T>
void update_rows(const AdamTable<T>& table, const AdamHistory& history,
                 std::span<const std::int64_t> rows, const T* gradient, int num_threads) {
  if (history.updates.empty()) throw std::invalid_argument("the history has no update to give");
  const std::int32_t step = last_step(history);
  std::int64_t least = 0;
  for (const std::int64_t row : rows) {
    require_row(row, least, table.num_rows, "; rows must ascend");
    require_steps(table, history, row);
    if (table.places[row] < 0) {
      throw std::invalid_argument("row " + std::to_string(row) + " has no place for its moments");
    }
    if (table.weight_steps[row] >= step) {
      throw std::invalid_argument("row " + std::to_string(row) + " has had update " +
                                  std::to_string(step) + " already");
    }
    least = row + 1;
  }
  const RowUpdates<T> updates(table, history);
  for_each_row(static_cast<std::int64_t>(rows.size()), table.dim, num_threads, [&](std::int64_t i) {
    const std::int64_t row = rows[i];
    updates.miss(row, table.weight_steps[row], step - 1);
    updates.update(row, gradient + i * table.dim);
    table.weight_steps[row] = step;
  });
}

template void catch_up(const AdamTable<float>&, const AdamHistory&, std::span<const std::int64_t>,
                       int);
template void catch_up(const AdamTable<double>&, const AdamHistory&, std::span<const std::int64_t>,
                       int);
template void update_rows(const AdamTable<float>&, const AdamHistory&,
                          std::span<const std::int64_t>, const float*, int);
template void update_rows(const AdamTable<double>&, const AdamHistory&,
                          std::span<const std::int64_t>, const double*, int);

}  // namespace hybrid_fast
