// AdamW (arXiv 1711.05101) of a table of which an update has a gradient for few rows only.
//
// Without a gradient AdamW still decays a row's weights and moments, and lets its momentum move the
// weights. All of that follows from the moments that the row's last gradient left, so it is done
// when the row is needed next. The moments stay as that gradient left them, and the weights get one
// missed update after another: the result is bitwise identical in however many parts a row is
// brought up to date.
#pragma once

#include <cstdint>
#include <span>

namespace hybrid_fast {

// The factors of update j, counted from 1.
struct AdamUpdate {
  double kept;  // 1 - learning rate * weight decay
  double rate;  // learning rate / (1 - beta1^j)
  double root;  // 1 / sqrt(1 - beta2^j)
};

// Of each update j > begin. Those up to `begin` no row needs any more.
// REQUIRES: beta1 < sqrt(beta2)
struct AdamHistory {
  std::int64_t begin;
  std::span<const AdamUpdate> updates;
  double beta1, beta2, epsilon;

  std::int64_t last() const { return begin + static_cast<std::int64_t>(updates.size()); }
};

// Weights (num_rows, dim), and moments (num_places, dim) of the rows that have had a gradient. Each
// row has a place of its own among the moments, those of a new place being 0.
template <typename T>
struct AdamTable {
  T* weights;
  T* first_moments;
  T* second_moments;
  std::int32_t* places;        // of each row, that of its moments; -1 if it has none
  std::int32_t* weight_steps;  // of each row, the last update that its weights have had, or 0
  std::int32_t* moment_steps;  // of each place, the update that left the moments, or 0
  std::int64_t num_rows, num_places, dim;
};

// Gives rows the updates that they have missed, as updates without a gradient.
// Throws std::invalid_argument for a row outside the table, whose updates the history does not go
// on from or whose place is none of the moments'; a row may occur several times.
template <typename T>
void catch_up(const AdamTable<T>& table, const AdamHistory& history,
              std::span<const std::int64_t> rows, int num_threads);

// Gives rows the last update of the history, after those that they have missed. Row i of
// `gradient`, (rows, dim), belongs to row rows[i] of the table.
// Throws std::invalid_argument unless rows ascend within the table, all have places, none has had
// that update and the history goes on from those that they have had.
template <typename T>
void update_rows(const AdamTable<T>& table, const AdamHistory& history,
                 std::span<const std::int64_t> rows, const T* gradient, int num_threads);

}  // namespace hybrid_fast
