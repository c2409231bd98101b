#include <cstdint>
#include <optional>
#include <utility>

#include "bindings/bindings.h"
#include "core/lazy_adam.h"

namespace hybrid_fast::bindings {
namespace {

template <typename T>
AdamTable<T> adam_table(Array<T>& weights, Array<T>& first_moments, Array<T>& second_moments,
                        Array<std::int32_t>& weight_steps, Array<std::int32_t>& moment_steps) {
  require_dimensions(weights, "weights", 2);
  const py::ssize_t num_rows = weights.shape(0), dim = weights.shape(1);
  for (const Array<T>* moments : {&first_moments, &second_moments}) {
    if (moments->ndim() != 2 || moments->shape(0) != num_rows || moments->shape(1) != dim) {
      throw std::invalid_argument("moments must have the shape of the weights");
    }
  }
  if (weight_steps.size() != num_rows || moment_steps.size() != num_rows) {
    throw std::invalid_argument("steps must have an entry for each row of the weights");
  }
  return {weights.mutable_data(),
          first_moments.mutable_data(),
          second_moments.mutable_data(),
          weight_steps.mutable_data(),
          moment_steps.mutable_data(),
          num_rows,
          dim};
}

template <typename T>
void update_rows(Array<T>& weights, Array<T>& first_moments, Array<T>& second_moments,
                 Array<std::int32_t>& weight_steps, Array<std::int32_t>& moment_steps,
                 const Array<double>& history, std::pair<double, double> betas, double epsilon,
                 const Array<std::int64_t>& rows, const std::optional<Array<T>>& gradient,
                 int num_threads) {
  const auto table = adam_table(weights, first_moments, second_moments, weight_steps, moment_steps);
  if (!(betas.first >= 0 && betas.first * betas.first < betas.second && betas.second < 1)) {
    throw std::invalid_argument("betas must have 0 <= beta1 < sqrt(beta2) < 1");
  }
  if (history.ndim() != 2 || history.shape(0) != 3) {
    throw std::invalid_argument("history must have 3 rows");
  }
  if (gradient && (gradient->ndim() != 2 || gradient->shape(0) != rows.size() ||
                   gradient->shape(1) != table.dim)) {
    throw std::invalid_argument(
        "gradient must have a row for each of rows, of the dimension of the weights");
  }
  const std::span<const double> all = view(history);
  const std::size_t count = all.size() / 3;
  const AdamHistory updates{all.first(count), all.subspan(count, count),
                            all.last(count),  betas.first,
                            betas.second,     epsilon};
  const std::span<const std::int64_t> row_span = view(rows);
  const T* const gradient_data = gradient ? gradient->data() : nullptr;
  py::gil_scoped_release release;
  if (gradient_data != nullptr) {
    hybrid_fast::update_rows(table, updates, row_span, gradient_data, num_threads);
  } else {
    hybrid_fast::catch_up(table, updates, row_span, num_threads);
  }
}

template <typename T>
void define_lazy_adam(py::module_& m) {
  m.def("update_rows", &update_rows<T>, py::arg("weights").noconvert(),
        py::arg("first_moments").noconvert(), py::arg("second_moments").noconvert(),
        py::arg("weight_steps").noconvert(), py::arg("moment_steps").noconvert(), py::kw_only(),
        py::arg("history").noconvert(), py::arg("betas"), py::arg("epsilon"),
        py::arg("rows").noconvert(), py::arg("gradient").noconvert().none(true),
        py::arg("num_threads"),
        "Give rows, which ascend, the last update of AdamW's history and all that they missed;\n"
        "without a gradient give rows, in any order, what they missed. All in place.\n\n"
        "history: float64 (3, updates), 1 - learning rate * weight decay, learning rate /\n"
        "(1 - beta1^j) and 1 / sqrt(1 - beta2^j) of each; steps: int32, of each row the last\n"
        "update of its weights and the one that left its moments, from 1.");
}

}  // namespace

void bind_adam(py::module_& m) {
  define_lazy_adam<float>(m);
  define_lazy_adam<double>(m);
}

}  // namespace hybrid_fast::bindings
