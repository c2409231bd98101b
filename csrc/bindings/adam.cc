#include <cmath>
#include <cstdint>
#include <utility>

#include "bindings/bindings.h"
#include "core/lazy_adam.h"

namespace hybrid_fast::bindings {
namespace {

// What Python hands over, before it is known what type of numbers it has.
struct TableArguments {
  const py::object &weights, &first_moments, &second_moments, &places, &weight_steps, &moment_steps;
};

template <typename T>
AdamTable<T> adam_table(const TableArguments& given) {
  Array<T> weights = checked_output<T>(given.weights, "weights", 2, "float32 or float64");
  Array<T> first = checked_output<T>(given.first_moments, "first_moments", 2);
  Array<T> second = checked_output<T>(given.second_moments, "second_moments", 2);
  const py::ssize_t num_rows = weights.shape(0), dim = weights.shape(1);
  const py::ssize_t num_places = first.shape(0);
  require_shape(first, "first_moments", {num_places, dim}, "rows as long as those of the weights");
  require_shape(second, "second_moments", {num_places, dim}, "the shape of the first moments");
  const auto integers = [](const py::object& given, const char* name, py::ssize_t size,
                           const char* of_what) {
    auto array = checked_output<std::int32_t>(given, name, 1);
    require_shape(array, name, {size}, of_what);
    return array.mutable_data();
  };
  const char* const of_rows = "an entry for each row of the weights";
  return {weights.mutable_data(),
          first.mutable_data(),
          second.mutable_data(),
          integers(given.places, "places", num_rows, of_rows),
          integers(given.weight_steps, "weight_steps", num_rows, of_rows),
          integers(given.moment_steps, "moment_steps", num_places,
                   "an entry for each row of the moments"),
          num_rows,
          num_places,
          dim};
}

AdamHistory adam_history(const Array<double>& history, std::int64_t begin,
                         std::pair<double, double> betas, double epsilon) {
  require_shape(history, "history", {history.shape(0), 3}, "three factors of each update");
  if (!(betas.first >= 0 && betas.first < std::sqrt(betas.second) && betas.second < 1)) {
    throw py::value_error("betas are " + std::to_string(betas.first) + " and " +
                          std::to_string(betas.second) +
                          "; betas must have 0 <= beta1 < sqrt(beta2) < 1");
  }
  static_assert(sizeof(AdamUpdate) == 3 * sizeof(double));
  const auto* const updates = reinterpret_cast<const AdamUpdate*>(history.data());
  return {begin,
          {updates, static_cast<std::size_t>(history.shape(0))},
          betas.first,
          betas.second,
          epsilon};
}

template <typename T>
void update(const TableArguments& given, const AdamHistory& history,
            const Array<std::int64_t>& rows, const py::object& gradient, int num_threads) {
  const AdamTable<T> table = adam_table<T>(given);
  const std::span<const std::int64_t> row_span = view(rows);
  const auto subject = [&] {
    return "updates of " + std::to_string(rows.size()) + " rows of a table (" +
           std::to_string(table.num_rows) + ", " + std::to_string(table.dim) + ")";
  };
  if (gradient.is_none()) {
    without_gil(subject, [&] { hybrid_fast::catch_up(table, history, row_span, num_threads); });
    return;
  }
  const Array<T> values = checked<T>(gradient, "gradient", 2);
  require_shape(values, "gradient", {rows.size(), table.dim},
                "a row for each of rows, of the dimension of the weights");
  without_gil(subject, [&] {
    hybrid_fast::update_rows(table, history, row_span, values.data(), num_threads);
  });
}

void update_rows(const py::object& weights, const py::object& first_moments,
                 const py::object& second_moments, const py::object& places,
                 const py::object& weight_steps, const py::object& moment_steps,
                 const py::object& history, std::int64_t begin, std::pair<double, double> betas,
                 double epsilon, const py::object& rows, const py::object& gradient,
                 int num_threads) {
  const TableArguments given{weights, first_moments, second_moments,
                             places,  weight_steps,  moment_steps};
  const auto factors = checked<double>(history, "history", 2);
  const AdamHistory updates = adam_history(factors, begin, betas, epsilon);
  const auto row_array = checked<std::int64_t>(rows, "rows", 1);
  if (is_array<double>(weights)) {
    update<double>(given, updates, row_array, gradient, num_threads);
  } else {
    update<float>(given, updates, row_array, gradient, num_threads);
  }
}

}  // namespace

void bind_adam(py::module_& m) {
  m.def("update_rows", &update_rows, py::arg("weights"), py::arg("first_moments"),
        py::arg("second_moments"), py::arg("places"), py::arg("weight_steps"),
        py::arg("moment_steps"), py::kw_only(), py::arg("history"), py::arg("begin"),
        py::arg("betas"), py::arg("epsilon"), py::arg("rows"), py::arg("gradient").none(true),
        py::arg("num_threads"),
        "Give rows, which ascend, the last update of AdamW's history and all that they missed;\n"
        "without a gradient give rows, in any order, what they missed. All in place.\n\n"
        "weights, moments, gradient: float32 or float64, alike; rows: int64; history: float64\n"
        "(updates after the first `begin`, 3), 1 - learning rate * weight decay, learning rate /\n"
        "(1 - beta1^j) and 1 / sqrt(1 - beta2^j) of each; places: int32, of each row that of its\n"
        "moments, -1 without; steps: int32, of each row the last update of its weights, and of\n"
        "each place the one that left its moments, from 1.");
}

}  // namespace hybrid_fast::bindings
