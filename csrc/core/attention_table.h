// The attention kernels of each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/attention.h"
#include "core/dropout_table.h"

namespace hybrid_fast {

// One head of the keys of one text, with all heads of the queries that take it.
struct AttentionHead {
  std::int64_t text, key_head;
};

// The rows of one text in arrays, and how many there are.
struct TextRows {
  std::int64_t first_query, num_queries, first_key, num_keys;
};
TextRows rows_of(const AttentionShape& shape, std::int64_t text);

template <typename T>
struct AttentionKernel {
  // `scratch` has scratch_size floats, aligned to 64 bytes.
  void (*attend)(const AttentionShape&, const AttentionInputs<T>&, T* out, float* log_sums,
                 const DropoutMask&, AttentionHead, float* scratch);
  void (*attend_backward)(const AttentionShape&, const AttentionInputs<T>&, const T* out_gradient,
                          const float* log_sums, const AttentionGradients<T>&, const DropoutMask&,
                          AttentionHead, float* scratch);
};

struct AttentionKernels {
  AttentionKernel<float> of_float;
  AttentionKernel<std::uint16_t> of_bf16;
  std::size_t (*scratch_size)(const AttentionShape&);
};

extern const AttentionKernels kAttention_portable;
#if defined(__x86_64__)
extern const AttentionKernels kAttention_avx2, kAttention_avx512;
#endif

}  // namespace hybrid_fast
