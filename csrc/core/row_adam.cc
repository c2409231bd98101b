#include "core/row_adam.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/parallel.h"

namespace hybrid_fast {
namespace {

constexpr std::size_t kRowsOfPiece = 32;

}  // namespace

template <typename T>
void update_rows(const AdamRows<T>& rows, const AdamOptions& options, int num_threads) {
  const double correction1 = 1 - std::pow(options.beta1, static_cast<double>(options.step));
  const double correction2 = 1 - std::pow(options.beta2, static_cast<double>(options.step));
  const auto kept = static_cast<T>(1 - options.learning_rate * options.weight_decay);
  const auto rate = static_cast<T>(options.learning_rate / correction1);
  const auto root = static_cast<T>(1 / std::sqrt(correction2));
  const auto beta1 = static_cast<T>(options.beta1), rest1 = static_cast<T>(1 - options.beta1);
  const auto beta2 = static_cast<T>(options.beta2), rest2 = static_cast<T>(1 - options.beta2);
  const auto epsilon = static_cast<T>(options.epsilon);
  const std::size_t num_rows = rows.rows.size();
  num_threads = threads_for(static_cast<std::int64_t>(num_rows) * rows.dim, num_threads);
  parallel_for((num_rows + kRowsOfPiece - 1) / kRowsOfPiece, num_threads, [&](std::size_t piece) {
    const std::size_t first = piece * kRowsOfPiece;
    for (std::size_t i = first; i < std::min(first + kRowsOfPiece, num_rows); ++i) {
      const T* __restrict gradient = rows.gradient + static_cast<std::int64_t>(i) * rows.dim;
      T* __restrict weights = rows.weights + rows.rows[i] * rows.dim;
      T* __restrict first_moments = rows.first_moments + rows.rows[i] * rows.dim;
      T* __restrict second_moments = rows.second_moments + rows.rows[i] * rows.dim;
      for (std::int64_t d = 0; d < rows.dim; ++d) {
        const T g = gradient[d];
        const T m = beta1 * first_moments[d] + rest1 * g;
        const T v = beta2 * second_moments[d] + rest2 * g * g;
        first_moments[d] = m;
        second_moments[d] = v;
        weights[d] = kept * weights[d] - rate * m / (std::sqrt(v) * root + epsilon);
      }
    }
  });
}

template void update_rows(const AdamRows<float>&, const AdamOptions&, int);
template void update_rows(const AdamRows<double>&, const AdamOptions&, int);

}  // namespace hybrid_fast
