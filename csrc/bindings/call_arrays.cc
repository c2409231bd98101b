#include "bindings/call_arrays.h"

#include <algorithm>

namespace hybrid_fast::bindings {
namespace {

bool share_memory(const Extent& a, const Extent& b) { return a.begin < b.end && b.begin < a.end; }

void require_apart(const Extent& extent, const std::vector<Extent>& others) {
  for (const Extent& other : others) {
    if (!share_memory(extent, other)) continue;
    throw py::value_error(std::string(extent.name) + " shares memory with " + other.name +
                          "; what is written needs memory of its own");
  }
}

}  // namespace

Extent extent_of(const py::array& array, const char* name) {
  const auto* begin = static_cast<const std::byte*>(array.data());
  const std::byte* last = begin;
  for (py::ssize_t axis = 0; axis < array.ndim(); ++axis) {
    if (array.shape(axis) == 0) return {name, begin, begin};
    const py::ssize_t offset = (array.shape(axis) - 1) * array.strides(axis);
    (offset < 0 ? begin : last) += offset;
  }
  return {name, begin, last + array.itemsize()};
}

void CallArrays::add(const Extent& extent, bool written) {
  if (extent.begin == extent.end) return;
  require_apart(extent, written_);
  if (written) require_apart(extent, read_);
  (written ? written_ : read_).push_back(extent);
}

void require_together(std::initializer_list<Named> values) {
  const Named& first = *values.begin();
  for (const Named& other : values) {
    if (other.value.is_none() == first.value.is_none()) continue;
    const bool lacks = other.value.is_none();
    throw py::value_error(std::string(lacks ? first.name : other.name) + " is given without " +
                          (lacks ? other.name : first.name) + "; they need each other");
  }
}

}  // namespace hybrid_fast::bindings
