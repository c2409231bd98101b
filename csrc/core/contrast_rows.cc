#include "core/contrast_rows.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "core/bf16_product.h"
#include "core/bf16_product_table.h"
#include "core/contrast_rows_table.h"
#include "core/instructions.h"
#include "core/parallel.h"

namespace hybrid_fast {
namespace {

const ContrastKernels<float>& choose() {
#if defined(__x86_64__)
  const std::string_view name = chosen_vectors();
  if (name == "avx512") return kContrast_avx512;
  if (name == "avx2") return kContrast_avx2;
#else
  chosen_vectors();
#endif
  return kContrast_portable;
}

const ContrastKernels<float>& kernels(float) {
  static const ContrastKernels<float>& chosen = choose();
  return chosen;
}
const ContrastKernels<double>& kernels(double) {
  kernels(float{});  // a wrong name is an error of all kernels
  return kContrastDouble;
}

// Under torch.compile nobody has looked at the values, and the kernels write where they say.
template <typename T>
void require_positives(const ContrastChunk<T>& chunk) {
  for (std::int64_t row = 0; row < chunk.num_rows; ++row) {
    const std::int64_t column = chunk.positives[row];
    if (column >= 0 && column < chunk.num_columns) continue;
    throw std::invalid_argument("positives has column " + std::to_string(column) +
                                "; they must be columns of passages, 0 to " +
                                std::to_string(chunk.num_columns - 1));
  }
}

constexpr std::int64_t kRowsOfBlock = 4;
constexpr std::int64_t kBytesOfScores = 1 << 19;  // half of a second-level cache
constexpr std::int64_t kMostRows = 48;            // of them

}  // namespace

template <typename T>
void contrast_rows(const ContrastChunk<T>& chunk, const ContrastGradient<T>& gradient,
                   int num_threads) {
  require_positives(chunk);
  const ContrastKernels<T>& chosen = kernels(T{});
  num_threads = threads_for(chunk.num_rows * chunk.num_columns, num_threads);
  const auto blocks = static_cast<std::size_t>((chunk.num_rows + kRowsOfBlock - 1) / kRowsOfBlock);
  parallel_for(blocks, num_threads, [&](std::size_t block) {
    const std::int64_t first = static_cast<std::int64_t>(block) * kRowsOfBlock;
    for (std::int64_t row = first; row < std::min(first + kRowsOfBlock, chunk.num_rows); ++row) {
      chosen.contrast_row(chunk, gradient, row);
    }
  });
}

template <typename T>
void add_column_sums(const ContrastChunk<T>& chunk, T* largest, T* sums, T* positive_logits,
                     int num_threads) {
  require_positives(chunk);
  const ContrastKernels<T>& chosen = kernels(T{});
  num_threads = threads_for(chunk.num_rows * chunk.num_columns, num_threads);
  parallel_for(static_cast<std::size_t>(chunk.num_rows), num_threads, [&](std::size_t row) {
    chosen.prepare_column_row(chunk, positive_logits, static_cast<std::int64_t>(row));
  });
  const auto blocks =
      static_cast<std::size_t>((chunk.num_columns + kColumnsOfBlock - 1) / kColumnsOfBlock);
  parallel_for(blocks, num_threads, [&](std::size_t block) {
    const std::int64_t first = static_cast<std::int64_t>(block) * kColumnsOfBlock;
    chosen.sum_columns(chunk, largest, sums, first,
                       std::min(kColumnsOfBlock, chunk.num_columns - first));
  });
}

void contrast_bf16_rows(const ContrastChunk<float>& chunk, const ContrastGradient<float>& gradient,
                        const std::uint16_t* queries, const std::uint16_t* packed, std::int64_t dim,
                        int num_threads) {
  require_positives(chunk);
  if (chunk.num_rows == 0) return;
  const ContrastKernels<float>& chosen = kernels(float{});
  num_threads = threads_for(chunk.num_rows * chunk.num_columns * (1 + dim / 64), num_threads);
  const auto after = [](auto* pointer, std::int64_t offset) {
    return pointer == nullptr ? pointer : pointer + offset;
  };
  const std::int64_t rows_that_fit =
      kBytesOfScores / static_cast<std::int64_t>(sizeof(float)) / chunk.num_columns;
  const std::int64_t unit = bf16_rows_at_once();
  const std::int64_t rows = std::max(unit, std::min(rows_that_fit, kMostRows) / unit * unit);
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
      chosen.contrast_row(part, out, row);
    }
  });
}

template void contrast_rows(const ContrastChunk<float>&, const ContrastGradient<float>&, int);
template void contrast_rows(const ContrastChunk<double>&, const ContrastGradient<double>&, int);
template void add_column_sums(const ContrastChunk<float>&, float*, float*, float*, int);
template void add_column_sums(const ContrastChunk<double>&, double*, double*, double*, int);

}  // namespace hybrid_fast
