#include "core/contrast_rows.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <memory>
#include <stdexcept>
#include <string>

#include "core/bf16_product.h"
#include "core/bf16_product_table.h"
#include "core/contrast_rows_table.h"
#include "core/instructions.h"
#include "core/team.h"

namespace hybrid_fast {
namespace {

const ContrastKernels<float>& kernels(float) {
  static const ContrastKernels<float>& chosen = HYBRID_FAST_CHOSEN(kContrast);
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
constexpr std::int64_t kCoordinatesOfPiece = 64;
constexpr std::int64_t kBytesOfScores = 1 << 19;  // half of a second-level cache
constexpr std::int64_t kMostRows = 48;            // of them

// Of how many rows the second-level cache holds the scores until they are done with.
std::int64_t rows_that_fit(std::int64_t num_columns) {
  const std::int64_t rows = kBytesOfScores / static_cast<std::int64_t>(sizeof(float)) / num_columns;
  const std::int64_t unit = bf16_rows_at_once();
  return std::max(unit, std::min(rows, kMostRows) / unit * unit);
}

template <typename T>
T* after(T* pointer, std::int64_t offset) {
  return pointer == nullptr ? nullptr : pointer + offset;
}

// Rows [first, first + num_rows) of a chunk, whose scores stand apart.
ContrastChunk<float> rows_of(ContrastChunk<float> chunk, std::int64_t first, std::int64_t num_rows,
                             float* scores) {
  chunk.scores = scores;
  chunk.num_rows = num_rows;
  chunk.positives += first;
  chunk.negative_mask.first_row += first;
  return chunk;
}

// The results of rows from `first` on.
ContrastGradient<float> rows_of(ContrastGradient<float> gradient, std::int64_t first,
                                std::int64_t num_columns) {
  gradient.coefficients = after(gradient.coefficients, first);
  gradient.bf16 = after(gradient.bf16, first * num_columns);
  gradient.grad_positives = after(gradient.grad_positives, first);
  gradient.losses += first;
  gradient.grad_dot_logits = after(gradient.grad_dot_logits, first);
  return gradient;
}

}  // namespace

template <typename T>
void contrast_rows(const ContrastChunk<T>& chunk, const ContrastGradient<T>& gradient,
                   int num_threads) {
  require_positives(chunk);
  const ContrastKernels<T>& chosen = kernels(T{});
  const std::int64_t size = chunk.num_rows * chunk.num_columns;
  const auto blocks = static_cast<std::size_t>((chunk.num_rows + kRowsOfBlock - 1) / kRowsOfBlock);
  parallel_for_in_team(blocks, size, num_threads, [&](std::size_t block) {
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
  const std::int64_t size = chunk.num_rows * chunk.num_columns;
  const auto num_rows = static_cast<std::size_t>(chunk.num_rows);
  parallel_for_in_team(num_rows, size, num_threads, [&](std::size_t row) {
    chosen.prepare_column_row(chunk, positive_logits, static_cast<std::int64_t>(row));
  });
  const auto blocks =
      static_cast<std::size_t>((chunk.num_columns + kColumnsOfBlock - 1) / kColumnsOfBlock);
  parallel_for_in_team(blocks, size, num_threads, [&](std::size_t block) {
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
  const std::int64_t size = chunk.num_rows * chunk.num_columns * (1 + dim / 64);
  const std::int64_t rows_at_once = rows_that_fit(chunk.num_columns);
  std::atomic<std::int64_t> next = 0;  // row
  // Threads live longer than the call, and its scores must not.
  parallel_for_in_team(static_cast<std::size_t>(num_threads), size, num_threads, [&](std::size_t) {
    const auto scores = std::make_unique_for_overwrite<float[]>(rows_at_once * chunk.num_columns);
    for (std::int64_t first = next.fetch_add(rows_at_once); first < chunk.num_rows;
         first = next.fetch_add(rows_at_once)) {
      const ContrastChunk<float> part =
          rows_of(chunk, first, std::min(rows_at_once, chunk.num_rows - first), scores.get());
      const ContrastGradient<float> out = rows_of(gradient, first, chunk.num_columns);
      multiply_bf16({queries + first * dim, part.num_rows, dim, dim, 1}, packed, chunk.num_columns,
                    part.scores, /*add=*/false);
      for (std::int64_t row = 0; row < part.num_rows; ++row) chosen.contrast_row(part, out, row);
    }
  });
}

void add_positives(const float* weights, std::int64_t count, const std::uint16_t* vectors,
                   const std::int64_t* from, float* sums, const std::int64_t* into,
                   std::int64_t dim, int num_threads) {
  const auto pieces =
      static_cast<std::size_t>((dim + kCoordinatesOfPiece - 1) / kCoordinatesOfPiece);
  // Rows may repeat, coordinates do not.
  parallel_for_in_team(pieces, count * dim / 8, num_threads, [&](std::size_t piece) {
    const std::int64_t first = static_cast<std::int64_t>(piece) * kCoordinatesOfPiece;
    const std::int64_t size = std::min(kCoordinatesOfPiece, dim - first);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::uint16_t* vector = vectors + (from == nullptr ? i : from[i]) * dim + first;
      float* sum = sums + (into == nullptr ? i : into[i]) * dim + first;
      for (std::int64_t d = 0; d < size; ++d) {
        sum[d] += weights[i] * std::bit_cast<float>(std::uint32_t{vector[d]} << 16);
      }
    }
  });
}

template void contrast_rows(const ContrastChunk<float>&, const ContrastGradient<float>&, int);
template void contrast_rows(const ContrastChunk<double>&, const ContrastGradient<double>&, int);
template void add_column_sums(const ContrastChunk<float>&, float*, float*, float*, int);
template void add_column_sums(const ContrastChunk<double>&, double*, double*, double*, int);

}  // namespace hybrid_fast
