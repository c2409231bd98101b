// What every file of the Python module shares: checked arrays, and one function a subject.
//
// These files alone see pybind11. They check dimensions, release the GIL and hand arrays to the
// core.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <initializer_list>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace hybrid_fast::bindings {

namespace py = pybind11;

void bind_plan(py::module_& m);           // the index of a table and the batch plan
void bind_ranks(py::module_& m);          // ranks and best columns of rows of scores
void bind_tokens(py::module_& m);         // hashes of texts, tokens of texts and their gradients
void bind_adam(py::module_& m);           // AdamW for rows with a gradient
void bind_negative_mask(py::module_& m);  // which columns are no negatives of rows of the loss
void bind_infonce(py::module_& m);        // the row kernels of the loss
void bind_products(py::module_& m);       // products of float and bfloat16
void bind_layers(py::module_& m);         // layers of encoders: dropout, GELU, attention

// What pybind11 makes a MemoryError of, with a text.
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(std::string text) : text_(std::move(text)) {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

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

// "int64 (3, 4)", with what else keeps the core from reading it.
std::string describe(const py::array& array);

// Whether a value is an array of type T that the core can read as it lies in memory.
template <typename T>
bool is_array(const py::object& given) {
  return py::isinstance<Array<T>>(given) && (py::reinterpret_borrow<py::array>(given).flags() &
                                             py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0;
}

// The name of a value's type.
std::string type_name(const py::object& given);

// Throws ValueError if only the dimensions differ from what is needed, else TypeError; the message
// says what was given under `name`.
[[noreturn]] void refuse(const py::object& given, const char* name, const std::string& types,
                         py::ssize_t num_dimensions, bool only_dimensions,
                         const char* what = "a C-contiguous array");

// The value as an array of T with so many dimensions, or an error as `refuse` throws it. `types`
// are those that its caller takes, if there are several.
template <typename T>
Array<T> checked(const py::object& given, const char* name, py::ssize_t num_dimensions,
                 const char* types = nullptr) {
  const bool right_type = is_array<T>(given);
  if (!right_type || py::reinterpret_borrow<py::array>(given).ndim() != num_dimensions) {
    const std::string needed =
        types != nullptr ? types : py::str(py::dtype::of<T>()).template cast<std::string>();
    refuse(given, name, needed, num_dimensions, right_type);
  }
  return py::reinterpret_borrow<Array<T>>(given);
}

// The same of an array that the core writes to.
template <typename T>
Array<T> checked_output(const py::object& given, const char* name, py::ssize_t num_dimensions,
                        const char* types = nullptr) {
  Array<T> array = checked<T>(given, name, num_dimensions, types);
  if (!array.writeable()) throw py::value_error(std::string(name) + " is read-only");
  return array;
}

// The value as an object of the core, or TypeError, which says what is `needed`.
template <typename T>
const T& checked_object(const py::object& given, const char* name, const char* needed) {
  if (py::isinstance<T>(given)) return given.cast<const T&>();
  throw py::type_error(std::string(name) + " is " + type_name(given) + "; it must be " + needed);
}

// Throws ValueError unless an array has a shape; `why` ends the message.
using Shape = std::initializer_list<py::ssize_t>;
void require_shape(const py::array& array, const char* name, std::span<const py::ssize_t> shape,
                   const char* why);
inline void require_shape(const py::array& array, const char* name, Shape shape, const char* why) {
  require_shape(array, name, std::span(shape.begin(), shape.size()), why);
}

// Calls work() without the GIL. If memory runs out, the MemoryError says for what: `subject()`.
template <typename Subject, typename Work>
auto without_gil(const Subject& subject, Work&& work) {
  try {
    py::gil_scoped_release release;
    return work();
  } catch (const std::bad_alloc&) {
    throw OutOfMemory("there is not enough memory for " + subject());
  } catch (const std::length_error&) {  // more than an array can have
    throw OutOfMemory("there is not enough memory for " + subject());
  }
}

}  // namespace hybrid_fast::bindings
