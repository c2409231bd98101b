#include <algorithm>

#include "bindings/bindings.h"

namespace hybrid_fast::bindings {
namespace {

std::string shape_text(const py::ssize_t* shape, py::ssize_t num_dimensions) {
  std::string text = "(";
  for (py::ssize_t d = 0; d < num_dimensions; ++d) {
    if (d > 0) text += ", ";
    text += std::to_string(shape[d]);
  }
  text += num_dimensions == 1 ? ",)" : ")";
  return text;
}

std::string text_of(const py::object& object) { return py::str(object).cast<std::string>(); }

}  // namespace

std::string type_name(const py::object& given) {
  return text_of(py::type::of(given).attr("__name__"));
}

std::string describe(const py::array& array) {
  std::string text = text_of(array.dtype()) + " " + shape_text(array.shape(), array.ndim());
  if ((array.flags() & py::array::c_style) == 0) text += ", not C-contiguous";
  if ((array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) == 0) text += ", not aligned";
  return text;
}

void refuse(const py::object& given, const char* name, const std::string& types,
            py::ssize_t num_dimensions, bool only_dimensions, const char* what_is_needed) {
  const std::string what_is_given = py::isinstance<py::array>(given)
                                        ? describe(py::reinterpret_borrow<py::array>(given))
                                        : type_name(given);
  const std::string text = std::string(name) + " is " + what_is_given + "; it must be " +
                           what_is_needed + " of " + types + " with " +
                           std::to_string(num_dimensions) +
                           (num_dimensions == 1 ? " dimension" : " dimensions");
  if (only_dimensions) throw py::value_error(text);
  throw py::type_error(text);
}

void require_shape(const py::array& array, const char* name, std::span<const py::ssize_t> shape,
                   const char* why) {
  const auto num_dimensions = static_cast<py::ssize_t>(shape.size());
  if (array.ndim() == num_dimensions && std::equal(shape.begin(), shape.end(), array.shape())) {
    return;
  }
  throw py::value_error(std::string(name) + " has the shape " +
                        shape_text(array.shape(), array.ndim()) + "; it needs " +
                        shape_text(shape.data(), num_dimensions) + ", " + why);
}

}  // namespace hybrid_fast::bindings
