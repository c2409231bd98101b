// The kernels of attention.h, once for each instruction set; see vectors.h.
#include <cstddef>
#include <cstdint>

#include "core/attention.h"
#include "core/attention_table.h"
#include "core/dropout_masks.h"
#include "core/small_product.h"
#include "core/transpose.h"
#include "core/vectors.h"

namespace hybrid_fast::HYBRID_FAST_ISA {

constexpr float kInfinity = __builtin_inff();
constexpr std::int64_t kQueriesOfBlock = 48;  // whose scores are held at a time
static_assert(kQueriesOfBlock % kRowMultiple == 0);

constexpr std::int64_t kGap = 16;  // floats between matrices, which begin at cache lines

constexpr std::int64_t padded(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

inline float widened(float x) { return x; }
inline float widened(std::uint16_t x) { return from_bf16(x); }
inline void narrow(float x, float* out) { *out = x; }
inline void narrow(float x, std::uint16_t* out) { *out = to_bf16(x); }

// Where the matrices of a head lie. Rows are padded with zeros: those of the width of a head to
// `dim`, those of scores to `keys`, since tiles of products reach beyond the numbers.
struct Scratch {
  std::int64_t dim, keys, num_keys;  // padded
  float* end;

  Scratch(std::int64_t width, std::int64_t count, float* begin)
      : dim(padded(width, kLanes)),
        keys(padded(padded(count, kRowMultiple), kLanes)),
        num_keys(padded(count, kRowMultiple)),
        end(begin) {}

  Rows take(std::int64_t num_rows, std::int64_t stride) {
    const Rows rows{end, stride};
    end += padded(num_rows * stride, kGap) + kGap;
    return rows;
  }
  Rows of_keys() { return take(num_keys, dim); }            // (keys, dim)
  Rows of_dimensions() { return take(dim, keys); }          // (dim, keys)
  Rows of_queries() { return take(kQueriesOfBlock, dim); }  // (block, dim)
  Rows of_scores() { return take(kQueriesOfBlock, keys); }  // (block, keys)
  Rows of_biases() { return take(1, keys); }
};

// Of attend_backward(), which needs the most.
inline std::size_t scratch_size(const AttentionShape& shape) {
  const Scratch s(shape.dim, shape.num_keys, nullptr);
  constexpr std::int64_t kMatrices = 12;
  return static_cast<std::size_t>(3 * s.num_keys * s.dim + 2 * s.dim * s.keys + 2 * s.keys +
                                  kQueriesOfBlock * (3 * s.dim + 2 * s.keys) +
                                  kMatrices * 2 * kGap);
}

// Rows first to first + count of a head of an array (.., .., num_heads, dim), times `factor`; more
// rows, up to `num_rows`, become 0.
template <typename T>
void read_rows(const T* from, std::int64_t stride, std::int64_t dim, std::int64_t count,
               std::int64_t num_rows, float factor, Rows to, std::int64_t padded_dim) {
  for (std::int64_t r = 0; r < num_rows; ++r) {
    float* row = to.data + r * to.stride;
    const std::int64_t filled = r < count ? dim : 0;
    const T* x = from + r * stride;
    for (std::int64_t k = 0; k < filled; ++k) row[k] = widened(x[k]) * factor;
    for (std::int64_t k = filled; k < padded_dim; ++k) row[k] = 0;
  }
}

// The transpose of such rows; columns up to `num_columns` become 0.
inline void transpose(Rows from, std::int64_t count, std::int64_t dim, Rows to,
                      std::int64_t num_columns) {
  transpose_columns(from.data, from.stride, count, dim, to.data, to.stride);
  for (std::int64_t k = 0; k < dim; ++k) {
    for (std::int64_t j = count; j < num_columns; ++j) to.data[k * to.stride + j] = 0;
  }
}

template <typename T>
void write_rows(Rows from, std::int64_t count, std::int64_t dim, float factor, T* to,
                std::int64_t stride) {
  for (std::int64_t r = 0; r < count; ++r) {
    for (std::int64_t k = 0; k < dim; ++k) {
      narrow(from.data[r * from.stride + k] * factor, to + r * stride + k);
    }
  }
}

// What is added to the scores of a query: 0, or -infinity at keys that it does not see.
inline void write_biases(const AttentionShape& shape, const std::uint8_t* seen, std::int64_t query,
                         std::int64_t num_keys, float* biases, std::int64_t num_columns) {
  std::int64_t begin = 0, end = num_keys;
  if (shape.causal && query + 1 < end) end = query + 1;
  if (shape.window > 0) {
    if (shape.window < end - query) end = query + shape.window;
    begin = query + 1 - shape.window;
    begin = begin < 0 ? 0 : begin < end ? begin : end;
  }
  for (std::int64_t j = 0; j < begin; ++j) biases[j] = -kInfinity;
  if (seen == nullptr) {
    for (std::int64_t j = begin; j < end; ++j) biases[j] = 0;
  } else {
    for (std::int64_t j = begin; j < end; ++j) biases[j] = seen[j] ? 0 : -kInfinity;
  }
  for (std::int64_t j = end; j < num_columns; ++j) biases[j] = -kInfinity;
}

// Whether the biases of a head are the same for all of its queries.
inline bool all_see_alike(const AttentionShape& shape) {
  return !shape.causal && shape.window == 0 && (shape.seen == nullptr || shape.query_stride == 0);
}

// Scores become exponentials relative to the largest, without what dropout takes; returns the
// largest and their sum before dropout.
struct RowSum {
  float largest, sum;
};
template <bool kDrops>
RowSum drop_exponentials(float* scores, const float* biases, std::int64_t n,
                         const DropoutMask& mask, std::uint32_t row, std::uint32_t matrix) {
  Floats highest = Floats{} - kInfinity;
  for (std::int64_t j = 0; j < n; j += kLanes) {
    const Floats s = load<Floats>(scores + j) + load<Floats>(biases + j);
    store(scores + j, s);
    highest = larger(highest, s);
  }
  const float largest = largest_of(highest);
  const float base = largest == -kInfinity ? 0 : largest;
  Floats sum{};
  for (std::int64_t begin = 0; begin < n; begin += kDropoutBlock) {
    const std::int64_t end = begin + kDropoutBlock < n ? begin + kDropoutBlock : n;
    if constexpr (!kDrops) {
      for (std::int64_t j = begin; j < end; j += kLanes) {
        const Floats e = exp_of(load<Floats>(scores + j) - base);
        sum += e;
        store(scores + j, e);
      }
      continue;
    }
    const KeptBlock kept(mask, static_cast<std::uint32_t>(begin / kDropoutBlock), row, matrix);
    for (std::int64_t j = begin; j < end; j += kLanes) {
      const Floats e = exp_of(load<Floats>(scores + j) - base);
      sum += e;
      store(scores + j, kept.kept(static_cast<int>(j - begin), e));
    }
  }
  return {largest, sum_of(sum)};
}

// Of a row: `scores` becomes drop(P), and `gradients`, of drop(P), that of the scores.
inline void differentiate_row(float* scores, float* gradients, const float* biases, float log_sum,
                              std::int64_t n, const DropoutMask& mask, std::uint32_t row,
                              std::uint32_t matrix, float* shares) {
  Floats dots{};
  for (std::int64_t begin = 0; begin < n; begin += kDropoutBlock) {
    const KeptBlock kept(mask, static_cast<std::uint32_t>(begin / kDropoutBlock), row, matrix);
    const std::int64_t end = begin + kDropoutBlock < n ? begin + kDropoutBlock : n;
    for (std::int64_t j = begin; j < end; j += kLanes) {
      const Floats share = exp_of(load<Floats>(scores + j) + load<Floats>(biases + j) - log_sum);
      const int place = static_cast<int>(j - begin);
      const Floats gradient = kept.kept(place, load<Floats>(gradients + j) * mask.factor);
      dots += share * gradient;
      store(shares + j, share);
      store(gradients + j, gradient);
      store(scores + j, kept.kept(place, share * mask.factor));
    }
  }
  const float dot = sum_of(dots);
  for (std::int64_t j = 0; j < n; j += kLanes) {
    store(gradients + j, load<Floats>(shares + j) * (load<Floats>(gradients + j) - dot));
  }
}

// One head of the queries, and the places of its numbers in arrays.
struct QueryHead {
  std::int64_t stride, first;  // of rows; of the first number
  const std::uint8_t* seen;
  std::int64_t log_sums;
  std::uint32_t matrix;

  QueryHead(const AttentionShape& s, const TextRows& rows, std::int64_t text, std::int64_t head)
      : stride(s.num_heads * s.dim),
        first((rows.first_query * s.num_heads + head) * s.dim),
        seen(s.seen == nullptr ? nullptr : s.seen + text * s.text_stride + head * s.head_stride),
        log_sums(rows.first_query * s.num_heads + head * rows.num_queries),
        matrix(static_cast<std::uint32_t>(text * s.num_heads + head)) {}

  const std::uint8_t* seen_by(const AttentionShape& s, std::int64_t query) const {
    return seen == nullptr ? nullptr : seen + query * s.query_stride;
  }
};

// Calls work(first query, how many, rows with those that tiles of products add).
template <typename Work>
void for_each_block(std::int64_t num_queries, Work&& work) {
  for (std::int64_t first = 0; first < num_queries; first += kQueriesOfBlock) {
    const std::int64_t left = num_queries - first;
    const std::int64_t count = left < kQueriesOfBlock ? left : kQueriesOfBlock;
    work(first, count, padded(count, kRowMultiple));
  }
}

template <typename T>
void attend(const AttentionShape& s, const AttentionInputs<T>& in, T* out, float* log_sums,
            const DropoutMask& mask, AttentionHead head, float* scratch_begin) {
  const TextRows text = rows_of(s, head.text);
  Scratch scratch(s.dim, text.num_keys, scratch_begin);
  const Rows values = scratch.of_keys(), transposed = scratch.of_dimensions();
  const Rows queries = scratch.of_queries(), scores = scratch.of_scores();
  const Rows biases = scratch.of_biases();
  const auto exponentials =
      mask.threshold == 0 ? &drop_exponentials<false> : &drop_exponentials<true>;
  const std::int64_t columns = padded(text.num_keys, kLanes);
  const std::int64_t key_stride = s.num_key_heads * s.dim;
  const std::int64_t key_first = (text.first_key * s.num_key_heads + head.key_head) * s.dim;
  read_rows(in.keys + key_first, key_stride, s.dim, text.num_keys, text.num_keys, 1, values,
            scratch.dim);
  transpose(values, text.num_keys, s.dim, transposed, scratch.keys);
  read_rows(in.values + key_first, key_stride, s.dim, text.num_keys, text.num_keys, 1, values,
            scratch.dim);
  const std::int64_t group = s.num_heads / s.num_key_heads;
  for (std::int64_t h = head.key_head * group; h < (head.key_head + 1) * group; ++h) {
    const QueryHead at(s, text, head.text, h);
    for_each_block(text.num_queries, [&](std::int64_t first, std::int64_t count,
                                         std::int64_t rows) {
      const std::int64_t place = at.first + first * at.stride;
      read_rows(in.queries + place, at.stride, s.dim, count, rows, s.scale, queries, scratch.dim);
      multiply<false>({queries.data, queries.stride, 1}, transposed, scores, rows, columns, s.dim);
      float factors[kQueriesOfBlock];
      for (std::int64_t r = 0; r < count; ++r) {
        const std::int64_t query = first + r;
        if (!all_see_alike(s) || query == 0) {
          write_biases(s, at.seen_by(s, query), query, text.num_keys, biases.data, columns);
        }
        const RowSum row = exponentials(scores.data + r * scores.stride, biases.data, columns, mask,
                                        static_cast<std::uint32_t>(query), at.matrix);
        const bool sees = !(row.sum == 0);  // one that is not a number stays visible
        if (log_sums != nullptr) {
          log_sums[at.log_sums + query] =
              sees ? row.largest + static_cast<float>(__builtin_log(double(row.sum))) : kInfinity;
        }
        factors[r] = sees ? mask.factor / row.sum : 0;
      }
      multiply<false>({scores.data, scores.stride, 1}, values, queries, rows, scratch.dim,
                      text.num_keys);
      for (std::int64_t r = 0; r < count; ++r) {
        write_rows({queries.data + r * queries.stride, 0}, 1, s.dim, factors[r],
                   out + place + r * at.stride, 0);
      }
    });
  }
}

template <typename T>
void attend_backward(const AttentionShape& s, const AttentionInputs<T>& in, const T* out_gradient,
                     const float* log_sums, const AttentionGradients<T>& gradients,
                     const DropoutMask& mask, AttentionHead head, float* scratch_begin) {
  const TextRows text = rows_of(s, head.text);
  Scratch scratch(s.dim, text.num_keys, scratch_begin);
  const Rows keys = scratch.of_keys(), key_gradient = scratch.of_keys();
  const Rows value_gradient = scratch.of_keys();
  const Rows keys_transposed = scratch.of_dimensions(), values_transposed = scratch.of_dimensions();
  const Rows queries = scratch.of_queries(), query_gradient = scratch.of_queries();
  const Rows outputs = scratch.of_queries();
  const Rows scores = scratch.of_scores(), score_gradient = scratch.of_scores();
  const Rows biases = scratch.of_biases(), shares = scratch.of_biases();
  const std::int64_t columns = padded(text.num_keys, kLanes), dim = scratch.dim;
  const std::int64_t key_stride = s.num_key_heads * s.dim;
  const std::int64_t key_first = (text.first_key * s.num_key_heads + head.key_head) * s.dim;
  read_rows(in.values + key_first, key_stride, s.dim, text.num_keys, text.num_keys, 1, keys, dim);
  transpose(keys, text.num_keys, s.dim, values_transposed, scratch.keys);
  read_rows(in.keys + key_first, key_stride, s.dim, text.num_keys, text.num_keys, 1, keys, dim);
  transpose(keys, text.num_keys, s.dim, keys_transposed, scratch.keys);
  for (std::int64_t i = 0; i < scratch.num_keys * dim; ++i) {
    key_gradient.data[i] = value_gradient.data[i] = 0;
  }
  // Products read beyond the last key what no product has written.
  for (std::int64_t r = 0; r < kQueriesOfBlock; ++r) {
    for (std::int64_t j = columns; j < scratch.keys; ++j) {
      scores.data[r * scores.stride + j] = score_gradient.data[r * scores.stride + j] = 0;
    }
  }
  const std::int64_t group = s.num_heads / s.num_key_heads;
  for (std::int64_t h = head.key_head * group; h < (head.key_head + 1) * group; ++h) {
    const QueryHead at(s, text, head.text, h);
    for_each_block(text.num_queries, [&](std::int64_t first, std::int64_t count,
                                         std::int64_t rows) {
      const std::int64_t place = at.first + first * at.stride;
      read_rows(in.queries + place, at.stride, s.dim, count, rows, s.scale, queries, dim);
      read_rows(out_gradient + place, at.stride, s.dim, count, rows, 1, outputs, dim);
      multiply<false>({queries.data, dim, 1}, keys_transposed, scores, rows, columns, s.dim);
      multiply<false>({outputs.data, dim, 1}, values_transposed, score_gradient, rows, columns,
                      s.dim);
      for (std::int64_t r = 0; r < count; ++r) {
        const std::int64_t query = first + r;
        write_biases(s, at.seen_by(s, query), query, text.num_keys, biases.data, columns);
        differentiate_row(scores.data + r * scores.stride, score_gradient.data + r * scores.stride,
                          biases.data, log_sums[at.log_sums + query], columns, mask,
                          static_cast<std::uint32_t>(query), at.matrix, shares.data);
      }
      multiply<false>({score_gradient.data, scores.stride, 1}, keys, query_gradient, rows, dim,
                      text.num_keys);
      write_rows(query_gradient, count, s.dim, s.scale, gradients.queries + place, at.stride);
      multiply<true>({score_gradient.data, 1, scores.stride}, queries, key_gradient,
                     scratch.num_keys, dim, count);
      multiply<true>({scores.data, 1, scores.stride}, outputs, value_gradient, scratch.num_keys,
                     dim, count);
    });
  }
  write_rows(key_gradient, text.num_keys, s.dim, 1, gradients.keys + key_first, key_stride);
  write_rows(value_gradient, text.num_keys, s.dim, 1, gradients.values + key_first, key_stride);
}

}  // namespace hybrid_fast::HYBRID_FAST_ISA
