// The steps of the chunked contrastive loss that are not matrix products, on the CPU: a chunk of
// scores becomes its losses and, in place, the gradient of its logits. See
// hybrid_fast/ops/chunked.py for the formulas.
#pragma once

#include <cstdint>

#include "core/negative_mask.h"

namespace hybrid_fast {

// Rows of scores.
template <typename T>
struct ContrastChunk {
  T* scores;  // (num_rows, num_columns), unscaled
  std::int64_t num_rows;
  std::int64_t num_columns;
  T logit_scale;                  // 1 / temperature
  const std::int64_t* positives;  // (num_rows,), columns
  NegativeMask negative_mask;
};

// What the rows of a chunk become.
template <typename T>
struct ContrastGradient {
  const T* coefficients;         // (num_rows,); null: only the losses are asked for
  const T* column_lse;           // (num_columns,), u_j, for `symmetric`; null: one direction
  const T* column_coefficients;  // (num_columns,), beta_j, likewise
  // (num_rows, num_columns): the gradient goes here, rounded, with 0 for the positive; null: it
  // goes to the scores, the positive's too.
  std::uint16_t* bf16;
  T* grad_positives;   // (num_rows,), beside bf16: the positive's gradient
  T* losses;           // (num_rows,)
  T* grad_dot_logits;  // (num_rows,): sum of gradient * logit
};

// Overwrites the scores. T is float or double; float takes the vectors of chosen_instructions().
// A row that is not in the batch has one direction, whatever `column_lse` is.
// A score that is not a number makes the loss of its row not a number. Rows are shared out over
// num_threads threads.
// These and the functions below throw std::invalid_argument if a positive is no column, or if
// HYBRID_FAST_CPU names no instructions of this processor.
template <typename T>
void contrast_rows(const ContrastChunk<T>& chunk, const ContrastGradient<T>& gradient,
                   int num_threads);

// Adds exp(logit) of the rows that are in the batch and neither exclude a column nor have it as
// positive to the column's sum: `largest` is the largest logit so far, `sums` the sum relative to
// it. Overwrites excluded scores. Writes the logits of all positives.
template <typename T>
void add_column_sums(const ContrastChunk<T>& chunk, T* largest, T* sums, T* positive_logits,
                     int num_threads);

// Adds the positives' part of a gradient, which `bf16` leaves out: to row into[i] of sums (..,
// dim), weights[i] times row from[i] of bfloat16 vectors (.., dim). Null rows are 0, 1, .., count -
// 1; of one sum they are added in this order.
void add_positives(const float* weights, std::int64_t count, const std::uint16_t* vectors,
                   const std::int64_t* from, float* sums, const std::int64_t* into,
                   std::int64_t dim, int num_threads);

// The same as `contrast_rows` on the product of bfloat16 queries (num_rows, dim) and packed
// passages (bf16_product.h), a few rows of which are held at a time; chunk.scores is not used.
void contrast_bf16_rows(const ContrastChunk<float>& chunk, const ContrastGradient<float>& gradient,
                        const std::uint16_t* queries, const std::uint16_t* packed, std::int64_t dim,
                        int num_threads);

}  // namespace hybrid_fast
