#include "core/lazy_adam.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/parallel.h"

namespace hybrid_fast {
namespace {

constexpr std::int64_t kRowsOfPiece = 32;
constexpr std::int64_t kBlock = 128;        // columns whose values stay in the cache
constexpr std::int64_t kMovesOfBlock = 64;  // that they get one after another

// Powers of a number, the small ones from a table.
class Powers {
 public:
  Powers(double base, std::int64_t num_small) : base_(base), small_(num_small + 1) {
    for (std::size_t i = 0; i < small_.size(); ++i) {
      small_[i] = std::pow(base, static_cast<double>(i));
    }
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

// The updates of one row of a table after another.
template <typename T>
class RowUpdates {
 public:
  RowUpdates(const AdamTable<T>& table, const AdamHistory& history)
      : table_(table),
        history_(history),
        decays_(std::any_of(history.kept.begin(), history.kept.end(),
                            [](double kept) { return kept != 1; })),
        fading_time_(std::min(fading_time<T>(history.beta1, history.beta2), history.last())),
        first_(history.beta1, fading_time_),
        second_(history.beta2, fading_time_),
        second_root_(std::sqrt(history.beta2), fading_time_) {}

  // Gives the weights of a row all updates after `done` up to `last`, which had no gradient of it.
  void miss(std::int64_t row, std::int64_t done, std::int64_t last) const {
    const std::int64_t since = table_.moment_steps[row];
    const std::int64_t faded = since == 0 ? done : std::clamp(since + fading_time_, done, last);
    for (std::int64_t first = done + 1; first <= faded; first += kMovesOfBlock) {
      const std::int64_t count = std::min(kMovesOfBlock, faded + 1 - first);
      Move moves[kMovesOfBlock];
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t age = first + i - since, place = first + i - 1 - history_.begin;
        moves[i] = {static_cast<T>(history_.kept[place]),
                    static_cast<T>(history_.rates[place] * first_(age)),
                    static_cast<T>(history_.roots[place] * second_root_(age))};
      }
      move(row, std::span<const Move>(moves, count));
    }
    if (decays_) decay(row, history_.kept.subspan(faded - history_.begin, last - faded));
  }

  // Gives a row the last update, of which it has a gradient.
  void update(std::int64_t row, const T* __restrict gradient) const {
    const std::int64_t step = history_.last();
    const std::int64_t age = step - table_.moment_steps[row];
    const auto kept1 = static_cast<T>(first_(age)), new1 = static_cast<T>(1 - history_.beta1);
    const auto kept2 = static_cast<T>(second_(age)), new2 = static_cast<T>(1 - history_.beta2);
    const auto kept = static_cast<T>(history_.kept.back());
    const auto rate = static_cast<T>(history_.rates.back());
    const auto root = static_cast<T>(history_.roots.back());
    const auto epsilon = static_cast<T>(history_.epsilon);
    T* __restrict weights = table_.weights + row * table_.dim;
    T* __restrict first_moments = table_.first_moments + row * table_.dim;
    T* __restrict second_moments = table_.second_moments + row * table_.dim;
    for (std::int64_t d = 0; d < table_.dim; ++d) {
      const T g = gradient[d];
      const T m = kept1 * first_moments[d] + new1 * g;
      const T v = kept2 * second_moments[d] + new2 * g * g;
      first_moments[d] = m;
      second_moments[d] = v;
      weights[d] = kept * weights[d] - rate * m / (std::sqrt(v) * root + epsilon);
    }
    table_.moment_steps[row] = static_cast<std::int32_t>(step);
  }

 private:
  struct Move {
    T kept;  // of the weights
    T rate;  // of the first moments
    T root;  // of the roots of the second moments
  };

  void move(std::int64_t row, std::span<const Move> moves) const {
    const auto epsilon = static_cast<T>(history_.epsilon);
    T* const weights = table_.weights + row * table_.dim;
    const T* const first_moments = table_.first_moments + row * table_.dim;
    const T* const second_moments = table_.second_moments + row * table_.dim;
    for (std::int64_t begin = 0; begin < table_.dim; begin += kBlock) {
      const std::int64_t size = std::min(kBlock, table_.dim - begin);
      T w[kBlock], m[kBlock], roots[kBlock];
      for (std::int64_t d = 0; d < size; ++d) {
        w[d] = weights[begin + d];
        m[d] = first_moments[begin + d];
        roots[d] = std::sqrt(second_moments[begin + d]);
      }
      for (const Move& move : moves) {
        for (std::int64_t d = 0; d < size; ++d) {
          w[d] = move.kept * w[d] - move.rate * m[d] / (roots[d] * move.root + epsilon);
        }
      }
      std::copy_n(w, size, weights + begin);
    }
  }

  void decay(std::int64_t row, std::span<const double> factors) const {
    T* const weights = table_.weights + row * table_.dim;
    for (const double factor : factors) {
      const auto kept = static_cast<T>(factor);
      for (std::int64_t d = 0; d < table_.dim; ++d) weights[d] *= kept;
    }
  }

  const AdamTable<T>& table_;
  const AdamHistory& history_;
  bool decays_;
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
  const std::int32_t weights = table.weight_steps[row], moments = table.moment_steps[row];
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
  parallel_for(static_cast<std::size_t>(num_pieces), threads_for(count * size, num_threads),
               [&](std::size_t piece) {
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
  if (history.kept.empty()) throw std::invalid_argument("the history has no update to give");
  const std::int32_t step = last_step(history);
  std::int64_t least = 0;
  for (const std::int64_t row : rows) {
    require_row(row, least, table.num_rows, "; rows must ascend");
    require_steps(table, history, row);
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
