#include <cstdint>
#include <new>
#include <string>

#include "bindings/call_arrays.h"
#include "bindings/packed_columns.h"
#include "core/bf16_product.h"
#include "core/float_product.h"

namespace hybrid_fast::bindings {
namespace {

constexpr std::align_val_t kLine{64};  // of the cache, which vectors and tiles should not cross

template <typename T>
std::string shape_text(const Matrix<T>& m) {
  return "(" + std::to_string(m.num_rows) + ", " + std::to_string(m.num_columns) + ")";
}

Bf16Vectors vectors_of(const Matrix<std::uint16_t>& m, const char* name) {
  if (m.stride != 1 && m.step != 1) {
    throw py::value_error(std::string(name) + " has rows " + std::to_string(m.stride) +
                          " and columns " + std::to_string(m.step) +
                          " numbers apart; those of either must lie side by side");
  }
  return {m.data, m.num_rows, m.num_columns, m.stride, m.step};
}

// Memory for packed columns. An array that repeats its numbers can have more of them than exist.
std::uint16_t* allocate(std::int64_t num_columns, std::int64_t dim) {
  constexpr double kMost = 1LL << 60;
  if (double(num_columns + kPanel) * double(dim + 2 * kPairsOfTile) > kMost) throw std::bad_alloc();
  const auto size = static_cast<std::size_t>(packed_size(num_columns, dim));
  return static_cast<std::uint16_t*>(::operator new[](size * sizeof(std::uint16_t), kLine));
}

void multiply_float(const py::object& a, const py::object& b, const py::object& out, bool add,
                    const py::object& bias, int num_threads) {
  CallArrays arrays;
  const auto left = arrays.matrix<float>(a, "a"), right = arrays.matrix<float>(b, "b");
  if (left.num_columns != right.num_rows) {
    throw py::value_error("a has " + std::to_string(left.num_columns) + " columns and b " +
                          std::to_string(right.num_rows) + " rows; they must be as many");
  }
  float* sums = arrays.output<float>(out, "out", {left.num_rows, right.num_columns},
                                     "rows of a and columns of b");
  if (add && !bias.is_none()) throw py::value_error("with add there is no bias");
  const float* of_columns =
      arrays.optional_input<float>(bias, "bias", {right.num_columns}, "columns of b");
  without_gil([&] { return "a product of " + shape_text(left) + " and " + shape_text(right); },
              [&] {
                hybrid_fast::multiply_float(float_matrix(left), float_matrix(right), sums, add,
                                            of_columns, num_threads);
              });
}

void multiply_bf16(const PackedColumns& columns, const py::object& rows, const py::object& out,
                   bool add, int num_threads) {
  CallArrays arrays;
  const auto left = arrays.matrix<std::uint16_t>(rows, "rows");
  const Bf16Vectors vectors = vectors_of(left, "rows");
  if (vectors.dim != columns.dim()) {
    throw py::value_error("rows have " + std::to_string(vectors.dim) + " coordinates; they need " +
                          std::to_string(columns.dim()) + ", as the columns have");
  }
  float* sums = arrays.output<float>(out, "out", {left.num_rows, columns.num_columns()},
                                     "rows and packed columns");
  const auto subject = [&] {
    return "a product of bfloat16 " + shape_text(left) + " and " +
           std::to_string(columns.num_columns()) + " columns";
  };
  without_gil(subject, [&] {
    hybrid_fast::multiply_bf16(vectors, columns.data(), columns.num_columns(), sums, add,
                               num_threads);
  });
}

}  // namespace

PackedColumns::PackedColumns(const py::object& columns, int num_threads) {
  if (!has_bf16_product()) {
    throw std::runtime_error(
        "this processor, or HYBRID_FAST_CPU, has no products of bfloat16; see has_bf16_product()");
  }
  CallArrays arrays;
  const auto matrix = arrays.matrix<std::uint16_t>(columns, "columns");
  const Bf16Vectors vectors = vectors_of(matrix, "columns");
  num_columns_ = vectors.size;
  dim_ = vectors.dim;
  without_gil([&] { return "packed columns of " + shape_text(matrix); },
              [&] {
                data_.reset(allocate(num_columns_, dim_));
                pack_bf16(vectors, data_.get(), num_threads);
              });
}

void PackedColumns::Free::operator()(std::uint16_t* data) const {
  ::operator delete[](data, kLine);
}

void bind_products(py::module_& m) {
  m.def("multiply_float", &multiply_float, py::arg("a"), py::arg("b"), py::arg("out"),
        py::kw_only(), py::arg("add"), py::arg("bias") = py::none(), py::arg("num_threads"),
        "Write a b to `out`, or add it: float32 (M, K), (K, N), in any layout, and (M, N),\n"
        "contiguous. Or write a b + bias, (N,).");
  m.def("has_bf16_product", &has_bf16_product,
        "Whether this processor multiplies bfloat16 (AMX or AVX-512 BF16).");
  py::class_<PackedColumns>(m, "PackedColumns",
                            "A matrix of bfloat16 in the order in which the core multiplies it.")
      .def(py::init<const py::object&, int>(), py::arg("columns"), py::kw_only(),
           py::arg("num_threads"),
           "columns: bfloat16 as uint16 (N, K), the transpose of the matrix; the numbers of its\n"
           "rows or of its columns lie side by side. RuntimeError without has_bf16_product().")
      .def_property_readonly("num_columns", &PackedColumns::num_columns)
      .def_property_readonly("dim", &PackedColumns::dim)
      .def("multiply", &multiply_bf16, py::arg("rows"), py::arg("out"), py::kw_only(),
           py::arg("add"), py::arg("num_threads"),
           "Write rows times the matrix to `out`, float32 (M, N), or add it. Rows: bfloat16 as\n"
           "uint16 (M, K), laid out as columns may be.");
}

}  // namespace hybrid_fast::bindings
