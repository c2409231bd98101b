// Attention with dropout on the CPU, forward and backward, a head at a time: scores stay in the
// caches, and neither they nor masks are kept for the backward pass.
//
//   P = softmax(scale Q K^T), where a query sees a key; 0 in the row of one that sees none
//   out = drop(P) V, where drop keeps an entry with probability 1 - rate, divided by it
#pragma once

#include <cstdint>

#include "core/dropout.h"

namespace hybrid_fast {

// Sizes, what a query sees, and dropout. Arrays of queries and what has their shape are
// (num_texts, num_queries, num_heads, dim), those of keys and values
// (num_texts, num_keys, num_key_heads, dim); head h of the queries takes head
// h / (num_heads / num_key_heads) of the keys.
//
// Texts without padding lie one after another: arrays are (offsets[num_texts], heads, dim), text t
// has the rows offsets[t] to offsets[t + 1] of all of them, and num_queries and num_keys are the
// rows of the longest. A text is computed to the bit as it is alone, but for its masks.
struct AttentionShape {
  std::int64_t num_texts, num_heads, num_key_heads, num_queries, num_keys, dim;
  const std::int64_t* offsets;  // null: every text has num_queries and num_keys
  float scale;
  // Whether a query sees a key, 1 or 0; null: it sees all. Strides of texts, heads and queries.
  const std::uint8_t* seen;
  std::int64_t text_stride, head_stride, query_stride;
  bool causal;          // query i sees keys 0 to i alone
  std::int64_t window;  // query i sees keys less than `window` away from i alone; 0: any
  DropoutLaw dropout;
};

template <typename T>
struct AttentionInputs {
  const T *queries, *keys, *values;
};

// T is float, or std::uint16_t for bfloat16, which is widened: all sums are of float. Heads are
// shared out over num_threads threads; the result does not depend on their number.
// Both throw as `drop`, and if num_heads is no multiple of num_key_heads.

// Writes `out`, of the queries' shape, and, unless it is null, log_sums: the logarithm of the sum
// of the exponentials of each row, (num_heads, num_queries) of each text, one after another.
template <typename T>
void attend(const AttentionShape& shape, const AttentionInputs<T>& inputs, T* out, float* log_sums,
            int num_threads);

// Writes the gradients of the inputs, from that of `out` and the log_sums that attend() wrote.
template <typename T>
struct AttentionGradients {
  T *queries, *keys, *values;
};
template <typename T>
void attend_backward(const AttentionShape& shape, const AttentionInputs<T>& inputs,
                     const T* out_gradient, const float* log_sums,
                     const AttentionGradients<T>& gradients, int num_threads);

}  // namespace hybrid_fast
