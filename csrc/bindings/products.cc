#include <cstdint>
#include <string>
#include <tuple>

#include "bindings/bindings.h"
#include "core/float_product.h"

namespace hybrid_fast::bindings {
namespace {

// An address, rows, columns, and the steps from row to row and from column to column.
using Matrix = std::tuple<std::uintptr_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t>;

FloatMatrix matrix(const Matrix& m) {
  const auto& [address, rows, columns, stride, step] = m;
  return {reinterpret_cast<const float*>(address), rows, columns, stride, step};
}

void multiply_float(const Matrix& a, const Matrix& b, std::uintptr_t out, bool add,
                    int num_threads) {
  const FloatMatrix left = matrix(a), right = matrix(b);
  if (left.num_columns != right.num_rows) {
    throw py::value_error("a has " + std::to_string(left.num_columns) + " columns and b " +
                          std::to_string(right.num_rows) + " rows; they must be as many");
  }
  const auto subject = [&] {
    return "a product of (" + std::to_string(left.num_rows) + ", " +
           std::to_string(left.num_columns) + ") and (" + std::to_string(right.num_rows) + ", " +
           std::to_string(right.num_columns) + ")";
  };
  without_gil(subject, [&] {
    hybrid_fast::multiply_float(left, right, reinterpret_cast<float*>(out), add, num_threads);
  });
}

}  // namespace

void bind_products(py::module_& m) {
  m.def("multiply_float", &multiply_float, py::arg("a"), py::arg("b"), py::kw_only(),
        py::arg("out"), py::arg("add"), py::arg("num_threads"),
        "Write a b to the contiguous `out`, or add it. Matrices are address, rows, columns, and\n"
        "the steps from row to row and from column to column.");
}

}  // namespace hybrid_fast::bindings
