// Problems for the kernels of the loss, drawn at random, and what they must answer, in double.
// Every array is an allocation of its own, of exactly its size.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "core/contrast_rows.h"

namespace hybrid_fast {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Ints = std::vector<std::int64_t>;

// A chunk with its arrays; those that were not asked for are empty.
template <typename T>
struct Problem {
  std::int64_t num_rows, num_columns;
  T logit_scale;
  std::vector<T> scores;
  Ints positives, row_groups, column_groups, row_ids, column_ids;
  std::vector<std::uint8_t> mask, excluded_columns;
  std::int64_t mask_stride = 0;
  bool has_margin = false;
  T margin{};

  ContrastChunk<T> chunk(std::vector<T>& work) const {
    const auto data = [](const auto& v) { return v.empty() ? nullptr : v.data(); };
    return {work.data(),         num_rows,
            num_columns,         logit_scale,
            positives.data(),    data(row_groups),
            data(column_groups), data(row_ids),
            data(column_ids),    data(mask),
            mask_stride,         data(excluded_columns),
            has_margin,          margin};
  }

  double logit(std::int64_t i, std::int64_t j) const {
    return double(scores[i * num_columns + j]) * logit_scale;
  }

  bool is_negative(std::int64_t i, std::int64_t j) const {
    if (j == positives[i]) return false;
    if (has_margin &&
        scores[i * num_columns + j] > scores[i * num_columns + positives[i]] + margin) {
      return false;
    }
    if (!row_groups.empty() && row_groups[i] != -1 && row_groups[i] == column_groups[j]) {
      return false;
    }
    if (!row_ids.empty() && row_ids[i] != -1 && row_ids[i] == column_ids[j]) return false;
    if (!mask.empty() && mask[i * mask_stride + j]) return false;
    return excluded_columns.empty() || !excluded_columns[j];
  }
};

inline std::mt19937 random_bits(5);

inline double uniform(double low, double high) {
  return low + (high - low) * (random_bits() / 4294967296.0);
}

inline Ints draw_ids(std::int64_t size) {
  Ints ids(size);
  for (auto& id : ids) id = static_cast<std::int64_t>(random_bits() % 6) - 1;
  return ids;
}

inline std::vector<std::uint8_t> draw_flags(std::int64_t size) {
  std::vector<std::uint8_t> flags(size);
  for (auto& flag : flags) flag = random_bits() % 4 == 0;
  return flags;
}

// Number `which` of the negative masks: none, each of them alone, all of them.
template <typename T>
Problem<T> draw(std::int64_t num_rows, std::int64_t num_columns, int which) {
  Problem<T> p{num_rows,
               num_columns,
               T(1 / 0.07),
               std::vector<T>(num_rows * num_columns),
               Ints(num_rows),
               {},
               {},
               {},
               {},
               {},
               {}};
  for (auto& score : p.scores) score = static_cast<T>(uniform(-1, 1));
  for (auto& positive : p.positives) positive = random_bits() % num_columns;
  if (which == 1 || which == 6) {
    p.row_groups = draw_ids(num_rows), p.column_groups = draw_ids(num_columns);
  }
  if (which == 2 || which == 6) {
    p.row_ids = draw_ids(num_rows), p.column_ids = draw_ids(num_columns);
  }
  if (which == 3 || which == 6) {
    p.mask_stride = num_columns + 3;  // rows of a larger mask
    p.mask = draw_flags(num_rows * p.mask_stride - 3);
  }
  if (which == 4 || which == 6) p.excluded_columns = draw_flags(num_columns);
  if (which == 5 || which == 6) p.has_margin = true, p.margin = T(0.1);
  return p;
}

inline bool near(double value, double expected, double scale, double tolerance) {
  return std::abs(value - expected) <= tolerance * std::max(scale, std::abs(expected));
}

struct Expected {
  std::vector<double> losses, grad_dot_logits, gradient;
};

template <typename T>
Expected define(const Problem<T>& p, const std::vector<T>& coefficients,
                const std::vector<T>& column_lse, const std::vector<T>& column_coefficients) {
  Expected e{std::vector<double>(p.num_rows), std::vector<double>(p.num_rows),
             std::vector<double>(p.num_rows * p.num_columns)};
  for (std::int64_t i = 0; i < p.num_rows; ++i) {
    const std::int64_t c = p.positives[i];
    const double positive = p.logit(i, c), a = coefficients[i];
    double others = 0;  // relative to the positive
    for (std::int64_t j = 0; j < p.num_columns; ++j) {
      if (p.is_negative(i, j)) others += std::exp(p.logit(i, j) - positive);
    }
    e.losses[i] = std::log1p(others);
    double* gradient = e.gradient.data() + i * p.num_columns;
    for (std::int64_t j = 0; j < p.num_columns; ++j) {
      if (!p.is_negative(i, j)) continue;
      gradient[j] = a * std::exp(p.logit(i, j) - positive) / (1 + others);
      if (!column_lse.empty() && column_lse[j] < kInfinity) {
        gradient[j] += std::exp(p.logit(i, j) - column_lse[j]) * column_coefficients[j];
      }
    }
    gradient[c] = -a * others / (1 + others);
    if (!column_lse.empty() && column_lse[c] < kInfinity) {
      const double gap = column_lse[c] - positive;
      e.losses[i] += std::max(gap, 0.0) + std::log1p(std::exp(-std::abs(gap)));
      gradient[c] -= a / (1 + std::exp(-gap));
    }
    for (std::int64_t j = 0; j < p.num_columns; ++j) {
      e.grad_dot_logits[i] += gradient[j] * p.logit(i, j);
    }
  }
  return e;
}

}  // namespace hybrid_fast
