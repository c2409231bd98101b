// What every file of the Python module shares: checked arrays, and one function a subject.
//
// These files alone see pybind11. They check dimensions, release the GIL and hand arrays to the
// core.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>

namespace hybrid_fast::bindings {

namespace py = pybind11;

void bind_plan(py::module_& m);     // the index of a table and the batch plan
void bind_ranks(py::module_& m);    // ranks and best columns of rows of scores
void bind_tokens(py::module_& m);   // hashes of texts, tokens of texts and their gradients
void bind_adam(py::module_& m);     // AdamW for rows with a gradient
void bind_infonce(py::module_& m);  // the row kernels of the loss and products of bfloat16

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

template <typename T>
std::span<const T> view(const Array<T>& array) {
  return {array.data(), static_cast<std::size_t>(array.size())};
}

template <typename T>
std::span<T> view(Array<T>& array) {
  return {array.mutable_data(), static_cast<std::size_t>(array.size())};
}

// Throws std::invalid_argument unless the array has so many dimensions.
inline void require_dimensions(const py::array& array, const char* name,
                               py::ssize_t num_dimensions) {
  if (array.ndim() != num_dimensions) {
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(array.ndim()) +
                                " dimensions; it needs " + std::to_string(num_dimensions));
  }
}

}  // namespace hybrid_fast::bindings
