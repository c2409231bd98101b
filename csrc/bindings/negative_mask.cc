#include "bindings/negative_mask.h"

#include <cmath>
#include <string>
#include <type_traits>

namespace hybrid_fast::bindings {
namespace {

constexpr const char* kRows = "an entry for each row";
constexpr const char* kColumns = "an entry for each column";

}  // namespace

MaskArrays::MaskArrays(py::ssize_t num_rows, py::ssize_t num_columns,
                       const py::object& query_groups, const py::object& passage_groups,
                       const py::object& query_passage_ids, const py::object& passage_ids,
                       const py::object& mask, const py::object& excluded_columns,
                       const py::object& owners, const py::object& in_batch,
                       std::optional<double> margin)
    : num_rows_(num_rows), num_columns_(num_columns) {
  require_together({{"query_groups", query_groups}, {"passage_groups", passage_groups}});
  require_together({{"query_passage_ids", query_passage_ids}, {"passage_ids", passage_ids}});
  if (margin && std::isnan(*margin)) throw py::value_error("margin is not a number");
  using Integer = std::int64_t;
  core_.query_groups = keep<Integer>(query_groups, "query_groups", num_rows, kRows);
  core_.passage_groups = keep<Integer>(passage_groups, "passage_groups", num_columns, kColumns);
  core_.query_passage_ids = keep<Integer>(query_passage_ids, "query_passage_ids", num_rows, kRows);
  core_.passage_ids = keep<Integer>(passage_ids, "passage_ids", num_columns, kColumns);
  core_.excluded_columns =
      keep<std::uint8_t>(excluded_columns, "excluded_columns", num_columns, kColumns);
  core_.owners = keep<Integer>(owners, "owners", num_columns, kColumns);
  core_.in_batch = keep<std::uint8_t>(in_batch, "in_batch", num_rows, kRows);
  if (!mask.is_none()) keep_mask(mask);
  if (margin) core_.margin = *margin;
}

// An array of an axis as the core reads it, null for None. Flags, bytes in the core, are bool here.
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

void MaskArrays::keep_mask(const py::object& given) {
  const py::array array = checked_matrix<bool>(given, "mask");
  require_shape(array, "mask", {num_rows_, num_columns_}, "rows and columns");
  const auto matrix = matrix_of<bool>(array);
  if (matrix.step != 1) {
    throw py::value_error("mask has columns " + std::to_string(matrix.step) +
                          " bytes apart; those of a row must lie side by side");
  }
  keep(array, "mask");
  core_.mask = reinterpret_cast<const std::uint8_t*>(matrix.data);
  core_.mask_stride = matrix.stride;
}

void MaskArrays::keep(const py::array& array, const char* name) {
  kept_.push_back(array);
  extents_.push_back(extent_of(array, name));
}

NegativeMask mask_of(const py::object& given, py::ssize_t num_rows, py::ssize_t num_columns,
                     CallArrays& arrays) {
  if (given.is_none()) return {};
  if (!py::isinstance<MaskArrays>(given)) {
    throw py::type_error("negative_mask is " +
                         py::str(py::type::of(given).attr("__name__")).cast<std::string>() +
                         "; it must be a NegativeMask or None");
  }
  const auto& mask = given.cast<const MaskArrays&>();
  if (mask.num_rows() != num_rows || mask.num_columns() != num_columns) {
    const auto shape = [](py::ssize_t rows, py::ssize_t columns) {
      return std::to_string(rows) + " rows and " + std::to_string(columns) + " columns";
    };
    throw py::value_error("negative_mask is of " + shape(mask.num_rows(), mask.num_columns()) +
                          "; there are " + shape(num_rows, num_columns));
  }
  for (const Extent& extent : mask.extents()) arrays.add(extent, /*written=*/false);
  return mask.core();
}

void bind_negative_mask(py::module_& m) {
  py::class_<MaskArrays>(m, "NegativeMask",
                         "Which columns of a chunk of scores are no negatives of its rows.\n\n"
                         "A column is excluded if any rule that was asked for says so; the row's\n"
                         "positive never is.")
      .def(py::init<py::ssize_t, py::ssize_t, const py::object&, const py::object&,
                    const py::object&, const py::object&, const py::object&, const py::object&,
                    const py::object&, const py::object&, std::optional<double>>(),
           py::arg("num_rows"), py::arg("num_columns"), py::kw_only(),
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
