// The Python class `NegativeMask`.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bindings/call_arrays.h"
#include "core/negative_mask.h"

namespace hybrid_fast::bindings {

// A mask with its arrays, which it checks and keeps.
class MaskArrays {
 public:
  MaskArrays(py::ssize_t num_rows, py::ssize_t num_columns, const py::object& query_groups,
             const py::object& passage_groups, const py::object& query_passage_ids,
             const py::object& passage_ids, const py::object& mask,
             const py::object& excluded_columns, const py::object& owners,
             const py::object& in_batch, std::optional<double> margin);

  py::ssize_t num_rows() const { return num_rows_; }
  py::ssize_t num_columns() const { return num_columns_; }
  const NegativeMask& core() const { return core_; }
  const std::vector<Extent>& extents() const { return extents_; }

 private:
  template <typename T>
  const T* keep(const py::object& given, const char* name, py::ssize_t size, const char* why);
  void keep_mask(const py::object& given);
  void keep(const py::array& array, const char* name);

  py::ssize_t num_rows_, num_columns_;
  NegativeMask core_;
  std::vector<py::array> kept_;
  std::vector<Extent> extents_;
};

// The mask of a chunk, whose other arrays are `arrays`; of None the one that excludes nothing.
NegativeMask mask_of(const py::object& given, py::ssize_t num_rows, py::ssize_t num_columns,
                     CallArrays& arrays);

}  // namespace hybrid_fast::bindings
