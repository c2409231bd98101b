// The kernels of contrast_rows.h, once for each instruction set; see vectors.h.
#include <cstdint>

#include "core/contrast_rows.h"
#include "core/contrast_rows_table.h"
#include "core/vectors.h"

namespace hybrid_fast::HYBRID_FAST_ISA {

template <typename V>
struct Tag {
  using Type = V;
};

// Calls f(tag of the vector or scalar type, offset) over [0, n): vectors, then single entries.
template <typename T, typename F>
inline void for_each(std::int64_t n, F&& f) {
  using V = typename VectorOf<T>::Type;
  constexpr std::int64_t kLanes = sizeof(V) / sizeof(T);
  std::int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) f(Tag<V>{}, j);
  for (; j < n; ++j) f(Tag<T>{}, j);
}

// The sum of vectors and single entries.
template <typename T>
class Sum {
 public:
  using V = typename VectorOf<T>::Type;
  void operator+=(V v) { vector_ += v; }
  void operator+=(T x) { single_ += x; }
  double total() const {
    double sum = single_;
    for (unsigned i = 0; i < sizeof(V) / sizeof(T); ++i) sum += vector_[i];
    return sum;
  }

 private:
  V vector_{};
  T single_ = 0;
};

// Long rows are summed in parts, whose sums are added in double.
constexpr std::int64_t kPart = 2048;
// Exponents of what is excluded; finite, since 0 times infinity is not a number.
constexpr float kNothing = -1e30f;

inline bool is_in_batch(const NegativeMask& m, std::int64_t row) {
  return m.in_batch == nullptr || m.in_batch[m.first_row + row];
}

// The scores of the columns for which excludes(column) is true become -infinity.
template <typename T, typename Excludes>
inline void exclude(T* x, std::int64_t n, Excludes excludes) {
  const T nothing = -__builtin_inff();
  for (std::int64_t j = 0; j < n; ++j) x[j] = excludes(j) ? nothing : x[j];
}

// Excluded scores of a row become -infinity; its positive keeps its score.
template <typename T>
void mask_scores(const ContrastChunk<T>& c, std::int64_t row, T* x) {
  const NegativeMask& m = c.negative_mask;
  const std::int64_t n = c.num_columns, number = m.first_row + row;
  const T positive = x[c.positives[row]];
  if (m.margin < __builtin_inf()) {
    const T limit = positive + static_cast<T>(m.margin);
    if (const std::int64_t* owners = m.owners) {
      exclude(x, n, [=](std::int64_t j) { return (x[j] > limit) & (owners[j] != number); });
    } else {
      exclude(x, n, [=](std::int64_t j) { return x[j] > limit; });
    }
  }
  if (m.query_groups != nullptr && m.query_groups[number] != -1) {
    const std::int64_t *groups = m.passage_groups, group = m.query_groups[number];
    exclude(x, n, [=](std::int64_t j) { return groups[j] == group; });
  }
  if (m.query_passage_ids != nullptr && m.query_passage_ids[number] != -1) {
    const std::int64_t *ids = m.passage_ids, id = m.query_passage_ids[number];
    exclude(x, n, [=](std::int64_t j) { return ids[j] == id; });
  }
  if (m.mask != nullptr) {
    const std::uint8_t* mask = m.mask + number * m.mask_stride;
    exclude(x, n, [=](std::int64_t j) { return mask[j]; });
  }
  if (const std::uint8_t* excluded = m.excluded_columns) {
    exclude(x, n, [=](std::int64_t j) { return excluded[j]; });
  }
  if (!is_in_batch(m, row)) {
    if (const std::int64_t* owners = m.owners) {
      exclude(x, n, [=](std::int64_t j) { return owners[j] != number; });
    } else {
      exclude(x, n, [](std::int64_t) { return true; });
    }
  }
  x[c.positives[row]] = positive;
}

template <typename T>
T largest_of(const T* x, std::int64_t n) {
  T lanes[sizeof(typename VectorOf<T>::Type) / sizeof(T)];
  auto vector = typename VectorOf<T>::Type{} - __builtin_inff();
  T largest = -__builtin_inff();
  for_each<T>(n, [&](auto tag, std::int64_t j) {
    using V = typename decltype(tag)::Type;
    if constexpr (sizeof(V) == sizeof(T)) {
      largest = larger(largest, x[j]);
    } else {
      vector = larger(vector, load<V>(x + j));
    }
  });
  store(lanes, vector);
  for (T lane : lanes) largest = larger(largest, lane);
  return largest;
}

struct Others {
  double sum = 0, dot = 0;  // of exponentials; of exponential * relative logit
};

// Exponentials of the logits relative to the largest score. Writes them if `kWrite`.
template <bool kWrite, typename T>
Others exponentials(T* x, std::int64_t n, T largest, T logit_scale) {
  Others others;
  for (std::int64_t first = 0; first < n; first += kPart) {
    T* part = x + first;
    Sum<T> sum, dot;
    for_each<T>(n - first < kPart ? n - first : kPart, [&](auto tag, std::int64_t j) {
      using V = typename decltype(tag)::Type;
      const V y = larger(V{} + T(kNothing), (load<V>(part + j) - largest) * logit_scale);
      const V e = exp_of(y);
      sum += e;
      dot += e * y;
      if constexpr (kWrite) store(part + j, e);
    });
    others.sum += sum.total();
    others.dot += dot.total();
  }
  return others;
}

// x becomes the gradient of both directions; returns sum_j of the gradient of the other direction
// times the logit.
template <typename T>
double both_directions(T* x, std::int64_t n, T largest, T logit_scale, T factor,
                       const T* column_lse, const T* column_coefficients) {
  double total = 0;
  for (std::int64_t first = 0; first < n; first += kPart) {
    T* part = x + first;
    Sum<T> dot;
    for_each<T>(n - first < kPart ? n - first : kPart, [&](auto tag, std::int64_t j) {
      using V = typename decltype(tag)::Type;
      const V score = load<V>(part + j);
      const V y = larger(V{} + T(kNothing), (score - largest) * logit_scale);
      const V logit = larger(V{} + T(kNothing), score * logit_scale);
      const V column = exp_of(logit - load<V>(column_lse + first + j)) *
                       load<V>(column_coefficients + first + j);
      dot += column * logit;
      store(part + j, exp_of(y) * factor + column);
    });
    total += dot.total();
  }
  return total;
}

// x * factor, rounded to bfloat16 (to nearest, ties to even).
inline void write_bf16(const float* x, std::int64_t n, float factor, std::uint16_t* out) {
  std::int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) store(out + j, to_bf16(load<Floats>(x + j) * factor));
  for (; j < n; ++j) out[j] = to_bf16(x[j] * factor);
}

template <typename T>
void contrast_row(const ContrastChunk<T>& c, const ContrastGradient<T>& g, std::int64_t row) {
  const std::int64_t n = c.num_columns, positive = c.positives[row];
  T* x = c.scores + row * n;
  mask_scores(c, row, x);
  const T positive_score = x[positive], largest = largest_of(x, n);
  const double positive_logit = double(positive_score - largest) * c.logit_scale;  // relative
  // The positive stands apart, so that the sum of the others keeps its digits beside it.
  x[positive] = -__builtin_inff();
  const bool one_direction =
      g.coefficients != nullptr && (g.column_lse == nullptr || !is_in_batch(c.negative_mask, row));
  const Others others = one_direction ? exponentials<true>(x, n, largest, c.logit_scale)
                                      : exponentials<false>(x, n, largest, c.logit_scale);
  const double positive_exp = __builtin_exp(positive_logit), total = others.sum + positive_exp;
  double loss = positive_logit > -10 ? __builtin_log1p(others.sum / positive_exp)
                                     : __builtin_log(total) - positive_logit;
  if (g.coefficients == nullptr) {
    g.losses[row] = static_cast<T>(loss);
    return;
  }
  const double a = g.coefficients[row];
  const T factor = static_cast<T>(a / total);
  double positive_gradient = -a * others.sum / total;
  double grad_dot_logits = a / total * others.dot + positive_gradient * positive_logit;
  if (!one_direction) {
    // The log-sum-exp of an empty column is infinity here: the positive has no negatives.
    const double logit = double(positive_score) * c.logit_scale, lse = g.column_lse[positive];
    const bool empty = lse > 3e38;
    const double small = empty ? 0 : __builtin_exp(-__builtin_fabs(lse - logit));
    const bool above = lse > logit;
    const double share = empty ? 0 : (above ? 1 : small) / (1 + small);      // sigmoid
    loss += empty ? 0 : (above ? lse - logit : 0) + __builtin_log1p(small);  // softplus
    grad_dot_logits +=
        both_directions(x, n, largest, c.logit_scale, factor, g.column_lse, g.column_coefficients);
    grad_dot_logits -= a * share * logit;
    positive_gradient -= a * share;
  }
  g.losses[row] = static_cast<T>(loss);
  g.grad_dot_logits[row] = static_cast<T>(grad_dot_logits);
  // One direction: still exponentials; both: the gradient already.
  const T rest = one_direction ? factor : T(1);
  if constexpr (sizeof(T) == sizeof(float)) {
    if (g.bf16 != nullptr) {
      // Half of the gradients' size comes from the positive; rounded it would be their largest
      // error.
      g.grad_positives[row] = static_cast<float>(positive_gradient);
      write_bf16(x, n, rest, g.bf16 + row * n);
      g.bf16[row * n + positive] = 0;
      return;
    }
  }
  if (one_direction) {
    for (std::int64_t j = 0; j < n; ++j) x[j] *= rest;
  }
  x[positive] = static_cast<T>(positive_gradient);
}

template <typename T>
void prepare_column_row(const ContrastChunk<T>& c, T* positive_logits, std::int64_t row) {
  T* x = c.scores + row * c.num_columns;
  positive_logits[row] = x[c.positives[row]] * c.logit_scale;
  if (!is_in_batch(c.negative_mask, row)) {
    exclude(x, c.num_columns, [](std::int64_t) { return true; });
    return;
  }
  mask_scores(c, row, x);
  x[c.positives[row]] = -__builtin_inff();
}

// Columns [first, first + count) of prepared rows; count <= kColumnsOfBlock.
template <typename T>
void sum_columns(const ContrastChunk<T>& c, T* largest, T* sums, std::int64_t first,
                 std::int64_t count) {
  T before[kColumnsOfBlock], added[kColumnsOfBlock];
  for (std::int64_t j = 0; j < count; ++j) {
    before[j] = largest[first + j];
    added[j] = 0;
  }
  for (std::int64_t row = 0; row < c.num_rows; ++row) {
    const T* x = c.scores + row * c.num_columns + first;
    for (std::int64_t j = 0; j < count; ++j) {
      largest[first + j] = larger(largest[first + j], x[j] * c.logit_scale);
    }
  }
  for (std::int64_t row = 0; row < c.num_rows; ++row) {
    const T* x = c.scores + row * c.num_columns + first;
    for_each<T>(count, [&](auto tag, std::int64_t j) {
      using V = typename decltype(tag)::Type;
      // Where nothing was kept both are -infinity; the sum must stay 0.
      const V top = larger(V{} + T(kNothing), load<V>(largest + first + j));
      store(added + j, load<V>(added + j) + exp_of(load<V>(x + j) * c.logit_scale - top));
    });
  }
  for (std::int64_t j = 0; j < count; ++j) {
    const T top = larger(T(kNothing), largest[first + j]);
    sums[first + j] = sums[first + j] * T(__builtin_exp(double(before[j]) - top)) + added[j];
  }
}

}  // namespace hybrid_fast::HYBRID_FAST_ISA
