// The arrays of one call of a kernel.
#pragma once

#include <cstddef>
#include <vector>

#include "bindings/bindings.h"
#include "core/float_product.h"

namespace hybrid_fast::bindings {

// Why arrays of a chunk of scores need their shape.
inline constexpr const char* kRows = "an entry for each row";
inline constexpr const char* kColumns = "an entry for each column";
inline constexpr const char* kPairs = "rows and columns";

// From the first byte of an array to its last.
struct Extent {
  const char* name;
  const std::byte* begin;
  const std::byte* end;
};
Extent extent_of(const py::array& array, const char* name);

// A matrix of any layout: entry (r, c) is data[r * stride + c * step]. Steps that nothing takes,
// along an axis of one entry or in an empty matrix, are 1.
template <typename T>
struct Matrix {
  const T* data;
  py::ssize_t num_rows, num_columns;
  py::ssize_t stride, step;
};

// The value as a matrix of T, or an error as `refuse` throws it.
template <typename T>
py::array checked_matrix(const py::object& given, const char* name) {
  constexpr auto kSize = static_cast<py::ssize_t>(sizeof(T));
  const bool right_type = py::isinstance<py::array_t<T, 0>>(given);
  const auto array = right_type ? py::reinterpret_borrow<py::array>(given) : py::array();
  const bool readable =
      right_type && (array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0;
  if (!readable || array.ndim() != 2) {
    refuse(given, name, py::str(py::dtype::of<T>()).template cast<std::string>(), 2, readable,
           "an array");
  }
  if (array.strides(0) % kSize != 0 || array.strides(1) % kSize != 0) {
    throw py::value_error(std::string(name) +
                          " has entries that lie no whole number of entries apart; copy it");
  }
  return array;
}

template <typename T>
Matrix<T> matrix_of(const py::array& array) {
  constexpr auto kSize = static_cast<py::ssize_t>(sizeof(T));
  const auto step = [&](int axis) {
    return array.shape(axis) == 1 || array.size() == 0 ? 1 : array.strides(axis) / kSize;
  };
  return {static_cast<const T*>(array.data()), array.shape(0), array.shape(1), step(0), step(1)};
}

inline FloatMatrix float_matrix(const Matrix<float>& m) {
  return {m.data, m.num_rows, m.num_columns, m.stride, m.step};
}

// Checks the arrays of one call, which lives no longer than its arguments: types and shapes, and
// that what is written shares no memory with any other of them.
class CallArrays {
 public:
  template <typename T>
  const T* input(const py::object& given, const char* name, Shape shape, const char* why) {
    const auto array = checked<T>(given, name, std::ssize(shape));
    require_shape(array, name, shape, why);
    add(extent_of(array, name), /*written=*/false);
    return array.data();
  }

  template <typename T>
  T* output(const py::object& given, const char* name, Shape shape, const char* why) {
    auto array = checked_output<T>(given, name, std::ssize(shape));
    require_shape(array, name, shape, why);
    add(extent_of(array, name), /*written=*/true);
    return array.mutable_data();
  }

  // Null for None.
  template <typename T>
  const T* optional_input(const py::object& given, const char* name, Shape shape, const char* why) {
    return given.is_none() ? nullptr : input<T>(given, name, shape, why);
  }
  template <typename T>
  T* optional_output(const py::object& given, const char* name, Shape shape, const char* why) {
    return given.is_none() ? nullptr : output<T>(given, name, shape, why);
  }

  template <typename T>
  Matrix<T> matrix(const py::object& given, const char* name) {
    const py::array array = checked_matrix<T>(given, name);
    add(extent_of(array, name), /*written=*/false);
    return matrix_of<T>(array);
  }

  // Throws ValueError if memory that is written is shared.
  void add(const Extent& extent, bool written);

 private:
  std::vector<Extent> read_, written_;
};

// Throws ValueError unless all values are given or all are None.
struct Named {
  const char* name;
  const py::object& value;
};
void require_together(std::initializer_list<Named> values);

}  // namespace hybrid_fast::bindings
