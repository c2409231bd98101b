#include "bindings/negative_mask.h"

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace hybrid_fast::bindings {
namespace {

// A mask with its arrays, which it checks and keeps.
class MaskArrays {
 public:
  MaskArrays(py::ssize_t num_rows, py::ssize_t num_columns)
      : num_rows_(num_rows), num_columns_(num_columns) {}

  // An array as the core reads it, null for None.
  template <typename T>
  const T* of_rows(const py::object& given, const char* name) {
    return keep<T>(given, name, num_rows_, kRows);
  }
  template <typename T>
  const T* of_columns(const py::object& given, const char* name) {
    return keep<T>(given, name, num_columns_, kColumns);
  }
  void read_mask(const py::object& given);

  py::ssize_t num_rows() const { return num_rows_; }
  py::ssize_t num_columns() const { return num_columns_; }
  const std::vector<Extent>& extents() const { return extents_; }

  NegativeMask core;

 private:
  template <typename T>
  const T* keep(const py::object& given, const char* name, py::ssize_t size, const char* why);
  void keep(const py::array& array, const char* name);

  py::ssize_t num_rows_, num_columns_;
  std::vector<py::array> kept_;
  std::vector<Extent> extents_;
};

// Flags, bytes in the core, are bool here.
template <typename T>
const T* MaskArrays::keep(const py::object& given, const char* name, py::ssize_t size,
                          const char* why) {
  if (given.is_none()) return nullptr;
  using Entry = std::conditional_t<std::is_same_v<T, std::uint8_t>, bool, T>;
  const auto array = checked<Entry>(given, name, 1);
  require_shape(array, name, {size}, why);
  keep(array, name);
  return reinterpret_cast<const T*>(array.data());
}

void MaskArrays::read_mask(const py::object& given) {
  if (given.is_none()) return;
  const py::array array = checked_matrix<bool>(given, "mask");
  require_shape(array, "mask", {num_rows_, num_columns_}, kPairs);
  const auto matrix = matrix_of<bool>(array);
  if (matrix.step != 1) {
    throw py::value_error("mask has columns " + std::to_string(matrix.step) +
                          " bytes apart; those of a row must lie side by side");
  }
  keep(array, "mask");
  core.mask = reinterpret_cast<const std::uint8_t*>(matrix.data);
  core.mask_stride = matrix.stride;
}

void MaskArrays::keep(const py::array& array, const char* name) {
  kept_.push_back(array);
  extents_.push_back(extent_of(array, name));
}

MaskArrays make_mask(py::ssize_t num_rows, py::ssize_t num_columns, const py::object& query_groups,
                     const py::object& passage_groups, const py::object& query_passage_ids,
                     const py::object& passage_ids, const py::object& mask,
                     const py::object& excluded_columns, const py::object& owners,
                     const py::object& in_batch, std::optional<double> margin) {
  require_together({{"query_groups", query_groups}, {"passage_groups", passage_groups}});
  require_together({{"query_passage_ids", query_passage_ids}, {"passage_ids", passage_ids}});
  if (margin && std::isnan(*margin)) throw py::value_error("margin is not a number");
  MaskArrays made(num_rows, num_columns);
  NegativeMask& core = made.core;
  core.query_groups = made.of_rows<std::int64_t>(query_groups, "query_groups");
  core.passage_groups = made.of_columns<std::int64_t>(passage_groups, "passage_groups");
  core.query_passage_ids = made.of_rows<std::int64_t>(query_passage_ids, "query_passage_ids");
  core.passage_ids = made.of_columns<std::int64_t>(passage_ids, "passage_ids");
  made.read_mask(mask);
  core.excluded_columns = made.of_columns<std::uint8_t>(excluded_columns, "excluded_columns");
  core.owners = made.of_columns<std::int64_t>(owners, "owners");
  core.in_batch = made.of_rows<std::uint8_t>(in_batch, "in_batch");
  if (margin) core.margin = *margin;
  return made;
}

}  // namespace

NegativeMask mask_of(const py::object& given, py::ssize_t num_rows, py::ssize_t num_columns,
                     CallArrays& arrays) {
  if (given.is_none()) return {};
  const auto& mask = checked_object<MaskArrays>(given, "negative_mask", "a NegativeMask or None");
  if (mask.num_rows() != num_rows || mask.num_columns() != num_columns) {
    const auto shape = [](py::ssize_t rows, py::ssize_t columns) {
      return std::to_string(rows) + " rows and " + std::to_string(columns) + " columns";
    };
    throw py::value_error("negative_mask is of " + shape(mask.num_rows(), mask.num_columns()) +
                          "; there are " + shape(num_rows, num_columns));
  }
  for (const Extent& extent : mask.extents()) arrays.add(extent, /*written=*/false);
  return mask.core;
}

void bind_negative_mask(py::module_& m) {
  py::class_<MaskArrays>(m, "NegativeMask",
                         "Which columns of a chunk of scores are no negatives of its rows.\n\n"
                         "A column is excluded if any rule that was asked for says so; the row's\n"
                         "positive never is.")
      .def(py::init(&make_mask), py::arg("num_rows"), py::arg("num_columns"), py::kw_only(),
           py::arg("query_groups") = py::none(), py::arg("passage_groups") = py::none(),
           py::arg("query_passage_ids") = py::none(), py::arg("passage_ids") = py::none(),
           py::arg("mask") = py::none(), py::arg("excluded_columns") = py::none(),
           py::arg("owners") = py::none(), py::arg("in_batch") = py::none(),
           py::arg("margin") = py::none(),
           "query_groups and query_passage_ids: int64 (num_rows,); passage_groups and\n"
           "passage_ids: int64 (num_columns,); those of a row's group, and those with the id of\n"
           "its positive, are excluded; -1 matches nothing. mask: bool (num_rows, num_columns),\n"
           "True: excluded; its rows may lie apart. excluded_columns: bool (num_columns,).\n"
           "owners: int64 (num_columns,), the row whose hard negative a column is. in_batch: bool\n"
           "(num_rows,), False: the row keeps its own hard negatives alone, and is no negative of\n"
           "others. margin: excludes scores that exceed the positive's by more, but for a row's\n"
           "own hard negatives.")
      .def_property_readonly("num_rows", &MaskArrays::num_rows)
      .def_property_readonly("num_columns", &MaskArrays::num_columns);
}

}  // namespace hybrid_fast::bindings
