#include "core/attention.h"

#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "core/attention_table.h"
#include "core/instructions.h"
#include "core/team.h"

namespace hybrid_fast {
namespace {

const AttentionKernels& chosen() {
  static const AttentionKernels& kernels = []() -> const AttentionKernels& {
#if defined(__x86_64__)
    const std::string_view name = chosen_vectors();
    if (name == "avx512") return kAttention_avx512;
    if (name == "avx2") return kAttention_avx2;
#else
    chosen_instructions();
#endif
    return kAttention_portable;
  }();
  return kernels;
}

template <typename T>
const AttentionKernel<T>& kernel() {
  if constexpr (std::is_same_v<T, float>) {
    return chosen().of_float;
  } else {
    return chosen().of_bf16;
  }
}

constexpr std::align_val_t kAlignment{64};

struct Freed {
  void operator()(float* floats) const { ::operator delete[](floats, kAlignment); }
};

std::int64_t count_scores(const AttentionShape& shape) {
  std::int64_t count = 0;
  for (std::int64_t text = 0; text < shape.num_texts; ++text) {
    const TextRows rows = rows_of(shape, text);
    count += shape.num_heads * rows.num_queries * rows.num_keys;
  }
  return count;
}

// Calls work(head, scratch) for every head of the keys.
template <typename Work>
void for_each_head(const AttentionShape& shape, int num_threads, Work&& work) {
  if (shape.num_key_heads < 1 || shape.num_heads % shape.num_key_heads != 0) {
    throw std::invalid_argument("queries have " + std::to_string(shape.num_heads) +
                                " heads, keys " + std::to_string(shape.num_key_heads) +
                                "; the first must be a multiple of the second");
  }
  const std::size_t size = chosen().scratch_size(shape);
  const auto heads = static_cast<std::size_t>(shape.num_texts * shape.num_key_heads);
  parallel_for_in_team(heads, count_scores(shape), num_threads, [&](std::size_t i) {
    thread_local std::unique_ptr<float[], Freed> scratch;
    thread_local std::size_t held = 0;
    if (held < size) {
      held = 0;
      scratch.reset(new (kAlignment) float[size]);
      held = size;
    }
    const auto head = static_cast<std::int64_t>(i);
    work(AttentionHead{head / shape.num_key_heads, head % shape.num_key_heads}, scratch.get());
  });
}

}  // namespace

TextRows rows_of(const AttentionShape& shape, std::int64_t text) {
  if (shape.offsets == nullptr) {
    return {text * shape.num_queries, shape.num_queries, text * shape.num_keys, shape.num_keys};
  }
  const std::int64_t first = shape.offsets[text], count = shape.offsets[text + 1] - first;
  return {first, count, first, count};
}

template <typename T>
void attend(const AttentionShape& shape, const AttentionInputs<T>& inputs, T* out, float* log_sums,
            int num_threads) {
  const DropoutMask mask = mask_of(shape.dropout, kDropsAttention);
  for_each_head(shape, num_threads, [&](AttentionHead head, float* scratch) {
    kernel<T>().attend(shape, inputs, out, log_sums, mask, head, scratch);
  });
}

template <typename T>
void attend_backward(const AttentionShape& shape, const AttentionInputs<T>& inputs,
                     const T* out_gradient, const float* log_sums,
                     const AttentionGradients<T>& gradients, int num_threads) {
  const DropoutMask mask = mask_of(shape.dropout, kDropsAttention);
  for_each_head(shape, num_threads, [&](AttentionHead head, float* scratch) {
    kernel<T>().attend_backward(shape, inputs, out_gradient, log_sums, gradients, mask, head,
                                scratch);
  });
}

template void attend(const AttentionShape&, const AttentionInputs<float>&, float*, float*, int);
template void attend(const AttentionShape&, const AttentionInputs<std::uint16_t>&, std::uint16_t*,
                     float*, int);
template void attend_backward(const AttentionShape&, const AttentionInputs<float>&, const float*,
                              const float*, const AttentionGradients<float>&, int);
template void attend_backward(const AttentionShape&, const AttentionInputs<std::uint16_t>&,
                              const std::uint16_t*, const float*,
                              const AttentionGradients<std::uint16_t>&, int);

}  // namespace hybrid_fast
