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
  T logit_scale = T(1 / 0.07);
  std::vector<T> scores;
  Ints positives;
  Ints query_groups{}, passage_groups{}, query_passage_ids{}, passage_ids{}, owners{};
  std::vector<std::uint8_t> mask{}, excluded_columns{}, in_batch{};
  std::int64_t mask_stride = 0;
  double margin = kInfinity;

  NegativeMask negative_mask() const {
    const auto data = [](const auto& v) { return v.empty() ? nullptr : v.data(); };
    return {.query_groups = data(query_groups),
            .passage_groups = data(passage_groups),
            .query_passage_ids = data(query_passage_ids),
            .passage_ids = data(passage_ids),
            .mask = data(mask),
            .mask_stride = mask_stride,
            .excluded_columns = data(excluded_columns),
            .owners = data(owners),
            .in_batch = data(in_batch),
            .margin = margin};
  }

  ContrastChunk<T> chunk(std::vector<T>& work) const {
    return {work.data(), num_rows, num_columns, logit_scale, positives.data(), negative_mask()};
  }

  double logit(std::int64_t i, std::int64_t j) const {
    return double(scores[i * num_columns + j]) * logit_scale;
  }

  bool owns(std::int64_t i, std::int64_t j) const { return !owners.empty() && owners[j] == i; }
  bool is_in_batch(std::int64_t i) const { return in_batch.empty() || in_batch[i]; }
  bool is_beyond_margin(std::int64_t i, std::int64_t j) const {
    const T* row = scores.data() + i * num_columns;
    return row[j] > row[positives[i]] + T(margin);
  }

  // Whether column j is a negative of row i.
  bool is_negative(std::int64_t i, std::int64_t j) const {
    const auto match = [](const Ints& of_rows, const Ints& of_columns, std::int64_t row,
                          std::int64_t column) {
      return !of_rows.empty() && of_rows[row] != -1 && of_rows[row] == of_columns[column];
    };
    if (j == positives[i] || (is_beyond_margin(i, j) && !owns(i, j))) return false;
    if (!is_in_batch(i) && !owns(i, j)) return false;
    if (match(query_groups, passage_groups, i, j)) return false;
    if (match(query_passage_ids, passage_ids, i, j)) return false;
    if (!mask.empty() && mask[i * mask_stride + j]) return false;
    return excluded_columns.empty() || !excluded_columns[j];
  }

  // Whether row i is a negative query of the positives in column j.
  bool is_negative_query(std::int64_t i, std::int64_t j) const {
    return is_in_batch(i) && is_negative(i, j);
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

// Rows of columns that are hard negatives, -1 for the others.
inline Ints draw_owners(std::int64_t num_rows, std::int64_t num_columns) {
  Ints owners(num_columns);
  for (auto& owner : owners) owner = static_cast<std::int64_t>(random_bits() % (num_rows + 1)) - 1;
  return owners;
}

// Bits of a mask: the rules that a problem has.
enum Rules : unsigned {
  kGroups = 1,
  kIds = 2,
  kMask = 4,
  kExcludedColumns = 8,
  kMargin = 16,
  kOwners = 32,
  kInBatch = 64,
  kAllRules = 127
};
// Those that are tried: none, each alone, those that have to do with each other, all.
constexpr unsigned kTriedRules[] = {0,
                                    kGroups,
                                    kIds,
                                    kMask,
                                    kExcludedColumns,
                                    kMargin,
                                    kOwners,
                                    kInBatch,
                                    kOwners | kMargin,
                                    kOwners | kInBatch,
                                    kOwners | kMargin | kInBatch,
                                    kAllRules & ~kOwners,
                                    kAllRules & ~kInBatch,
                                    kAllRules};

template <typename T>
Problem<T> draw(std::int64_t num_rows, std::int64_t num_columns, unsigned rules) {
  Problem<T> p{.num_rows = num_rows,
               .num_columns = num_columns,
               .scores = std::vector<T>(num_rows * num_columns),
               .positives = Ints(num_rows)};
  for (auto& score : p.scores) score = static_cast<T>(uniform(-1, 1));
  for (auto& positive : p.positives) positive = random_bits() % num_columns;
  if (rules & kGroups)
    p.query_groups = draw_ids(num_rows), p.passage_groups = draw_ids(num_columns);
  if (rules & kIds) p.query_passage_ids = draw_ids(num_rows), p.passage_ids = draw_ids(num_columns);
  if (rules & kMask) {
    p.mask_stride = num_columns + 3;  // rows of a larger mask
    p.mask = draw_flags(num_rows * p.mask_stride - 3);
  }
  if (rules & kExcludedColumns) p.excluded_columns = draw_flags(num_columns);
  if (rules & kMargin) p.margin = 0.1;
  if (rules & kOwners) p.owners = draw_owners(num_rows, num_columns);
  if (rules & kInBatch) p.in_batch = draw_flags(num_rows);
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
  const auto has_lse = [&](std::int64_t j) {
    return !column_lse.empty() && column_lse[j] < kInfinity;
  };
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
      if (has_lse(j) && p.is_negative_query(i, j)) {
        gradient[j] += std::exp(p.logit(i, j) - column_lse[j]) * column_coefficients[j];
      }
    }
    gradient[c] = -a * others / (1 + others);
    if (has_lse(c) && p.is_in_batch(i)) {
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
