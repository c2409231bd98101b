// AdamW (arXiv 1711.05101) of some rows of a matrix; the others stay as they are, moments included.
#pragma once

#include <cstdint>
#include <span>

namespace hybrid_fast {

struct AdamOptions {
  double learning_rate;
  double beta1, beta2;
  double epsilon;
  double weight_decay;
  std::int64_t step;  // counts from 1; corrects the bias of the moments
};

// Matrices of one shape; row i of `gradient` belongs to row rows[i] of the others.
// REQUIRES: rows ascend strictly within the matrices
template <typename T>
struct AdamRows {
  T* weights;
  T* first_moments;
  T* second_moments;
  const T* gradient;
  std::span<const std::int64_t> rows;
  std::int64_t dim;
};

template <typename T>
void update_rows(const AdamRows<T>& rows, const AdamOptions& options, int num_threads);

}  // namespace hybrid_fast
