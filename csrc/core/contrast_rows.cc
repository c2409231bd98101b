#include "core/contrast_rows.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/bf16_product.h"
#include "core/contrast_rows_table.h"
#include "core/parallel.h"

namespace hybrid_fast {
namespace {

struct Choice {
  const char* name;
  const ContrastKernels<float>* kernels;
  const ProductKernels* product;
};

Choice choose() {
#if defined(__x86_64__)
  const char* asked = std::getenv("HYBRID_FAST_CPU");
  const auto wanted = [&](const char* name) {
    return asked == nullptr || *asked == '\0' || std::strcmp(asked, name) == 0;
  };
  if (wanted("avx512") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    const bool bf16 = __builtin_cpu_supports("avx512bf16");
    return {"avx512", &kContrast_avx512, bf16 ? &kProduct_avx512bf16 : nullptr};
  }
  if (wanted("avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return {"avx2", &kContrast_avx2, nullptr};
  }
#endif
  return {"portable", &kContrast_portable, nullptr};
}

const Choice& chosen() {
  static const Choice choice = choose();
  return choice;
}

const ContrastKernels<float>& kernels(float) { return *chosen().kernels; }
const ContrastKernels<double>& kernels(double) { return kContrastDouble; }

constexpr std::int64_t kRowsOfBlock = 4;
constexpr std::int64_t kBytesOfScores = 1 << 19;         // half of a second-level cache
constexpr std::int64_t kFewestRows = 6, kMostRows = 48;  // of them, a multiple of those of a tile

}  // namespace

const ProductKernels* product_kernels() { return chosen().product; }

const char* contrast_instructions() { return chosen().name; }

template <typename T>
void contrast_rows(const ContrastChunk<T>& chunk, const ContrastGradient<T>& gradient,
                   int num_threads) {
  num_threads = threads_for(chunk.num_rows * chunk.num_columns, num_threads);
  const auto blocks = static_cast<std::size_t>((chunk.num_rows + kRowsOfBlock - 1) / kRowsOfBlock);
  parallel_for(blocks, num_threads, [&](std::size_t block) {
    const std::int64_t first = static_cast<std::int64_t>(block) * kRowsOfBlock;
    for (std::int64_t row = first; row < std::min(first + kRowsOfBlock, chunk.num_rows); ++row) {
      kernels(T{}).contrast_row(chunk, gradient, row);
    }
  });
}

template <typename T>
void add_column_sums(const ContrastChunk<T>& chunk, T* largest, T* sums, T* positive_logits,
                     int num_threads) {
  num_threads = threads_for(chunk.num_rows * chunk.num_columns, num_threads);
  parallel_for(static_cast<std::size_t>(chunk.num_rows), num_threads, [&](std::size_t row) {
    kernels(T{}).prepare_column_row(chunk, positive_logits, static_cast<std::int64_t>(row));
  });
  const auto blocks =
      static_cast<std::size_t>((chunk.num_columns + kColumnsOfBlock - 1) / kColumnsOfBlock);
  parallel_for(blocks, num_threads, [&](std::size_t block) {
    const std::int64_t first = static_cast<std::int64_t>(block) * kColumnsOfBlock;
    kernels(T{}).sum_columns(chunk, largest, sums, first,
                             std::min(kColumnsOfBlock, chunk.num_columns - first));
  });
}

void contrast_bf16_rows(const ContrastChunk<float>& chunk, const ContrastGradient<float>& gradient,
                        const std::uint16_t* queries, const std::uint16_t* packed, std::int64_t dim,
                        int num_threads) {
  num_threads = threads_for(chunk.num_rows * chunk.num_columns * (1 + dim / 64), num_threads);
  const auto after = [](auto* pointer, std::int64_t offset) {
    return pointer == nullptr ? pointer : pointer + offset;
  };
  const std::int64_t rows_that_fit =
      kBytesOfScores / static_cast<std::int64_t>(sizeof(float)) / chunk.num_columns;
  const std::int64_t rows = std::clamp(rows_that_fit / 6 * 6, kFewestRows, kMostRows);
  const auto blocks = static_cast<std::size_t>((chunk.num_rows + rows - 1) / rows);
  parallel_for(blocks, num_threads, [&](std::size_t block) {
    const std::int64_t first = static_cast<std::int64_t>(block) * rows;
    // The scores of a few rows stay in the second-level cache until they are done with.
    thread_local std::vector<float> scores;
    ContrastChunk<float> part = chunk;
    part.num_rows = std::min(rows, chunk.num_rows - first);
    scores.resize(part.num_rows * chunk.num_columns);
    part.scores = scores.data();
    part.positives = chunk.positives + first;
    part.row_groups = after(chunk.row_groups, first);
    part.row_ids = after(chunk.row_ids, first);
    part.mask = after(chunk.mask, first * chunk.mask_stride);
    ContrastGradient<float> out = gradient;
    out.coefficients = after(gradient.coefficients, first);
    out.bf16 = after(gradient.bf16, first * chunk.num_columns);
    out.losses = gradient.losses + first;
    out.grad_dot_logits = after(gradient.grad_dot_logits, first);
    multiply_bf16({queries + first * dim, part.num_rows, dim, dim, 1}, packed, chunk.num_columns,
                  part.scores, /*add=*/false);
    for (std::int64_t row = 0; row < part.num_rows; ++row) {
      kernels(float{}).contrast_row(part, out, row);
    }
  });
}

template void contrast_rows(const ContrastChunk<float>&, const ContrastGradient<float>&, int);
template void contrast_rows(const ContrastChunk<double>&, const ContrastGradient<double>&, int);
template void add_column_sums(const ContrastChunk<float>&, float*, float*, float*, int);
template void add_column_sums(const ContrastChunk<double>&, double*, double*, double*, int);

}  // namespace hybrid_fast
