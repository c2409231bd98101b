#include <cstdint>
#include <string>

#include "bindings/bindings.h"
#include "core/bf16_product.h"
#include "core/contrast_rows.h"
#include "core/instructions.h"

namespace hybrid_fast::bindings {
namespace {

// Addresses of tensors, which torch alone knows: `hybrid_fast.ops` needs no NumPy. 0: none.
template <typename T>
T* at(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

template <typename T>
ContrastChunk<T> contrast_chunk(const py::dict& c) {
  const auto address = [&](const char* name) { return c[name].cast<std::uintptr_t>(); };
  const bool has_margin = !c["margin"].is_none();
  return {at<T>(address("scores")),
          c["num_rows"].cast<std::int64_t>(),
          c["num_columns"].cast<std::int64_t>(),
          c["logit_scale"].cast<T>(),
          at<const std::int64_t>(address("positives")),
          at<const std::int64_t>(address("row_groups")),
          at<const std::int64_t>(address("column_groups")),
          at<const std::int64_t>(address("row_ids")),
          at<const std::int64_t>(address("column_ids")),
          at<const std::uint8_t>(address("mask")),
          c["mask_stride"].cast<std::int64_t>(),
          at<const std::uint8_t>(address("excluded_columns")),
          has_margin,
          has_margin ? c["margin"].cast<T>() : T{}};
}

template <typename T>
ContrastGradient<T> contrast_gradient(std::uintptr_t coefficients, std::uintptr_t column_lse,
                                      std::uintptr_t column_coefficients, std::uintptr_t losses,
                                      std::uintptr_t grad_dot_logits, std::uintptr_t bf16 = 0,
                                      std::uintptr_t grad_positives = 0) {
  return {at<const T>(coefficients), at<const T>(column_lse), at<const T>(column_coefficients),
          at<std::uint16_t>(bf16),   at<T>(grad_positives),   at<T>(losses),
          at<T>(grad_dot_logits)};
}

// What the memory is for that threads take.
template <typename T>
auto rows_of(const ContrastChunk<T>& chunk) {
  return [&chunk] {
    return "the loss of " + std::to_string(chunk.num_rows) + " rows of " +
           std::to_string(chunk.num_columns) + " scores";
  };
}

auto product_of(std::int64_t num_rows, std::int64_t num_columns, std::int64_t dim) {
  return [=] {
    return "a product of bfloat16 (" + std::to_string(num_rows) + ", " + std::to_string(dim) +
           ") and (" + std::to_string(num_columns) + ", " + std::to_string(dim) + ")";
  };
}

template <typename T>
void contrast_rows(const py::dict& chunk, std::uintptr_t coefficients, std::uintptr_t column_lse,
                   std::uintptr_t column_coefficients, std::uintptr_t losses,
                   std::uintptr_t grad_dot_logits, int num_threads) {
  const ContrastChunk<T> rows = contrast_chunk<T>(chunk);
  const ContrastGradient<T> gradient =
      contrast_gradient<T>(coefficients, column_lse, column_coefficients, losses, grad_dot_logits);
  without_gil(rows_of(rows), [&] { hybrid_fast::contrast_rows(rows, gradient, num_threads); });
}

template <typename T>
void add_column_sums(const py::dict& chunk, std::uintptr_t largest, std::uintptr_t sums,
                     std::uintptr_t positive_logits, int num_threads) {
  const ContrastChunk<T> rows = contrast_chunk<T>(chunk);
  without_gil(rows_of(rows), [&] {
    hybrid_fast::add_column_sums(rows, at<T>(largest), at<T>(sums), at<T>(positive_logits),
                                 num_threads);
  });
}

template <typename T>
void define_contrast(py::module_& m, const std::string& suffix) {
  m.def(("contrast_rows_" + suffix).c_str(), &contrast_rows<T>, py::arg("chunk"), py::kw_only(),
        py::arg("coefficients"), py::arg("column_lse"), py::arg("column_coefficients"),
        py::arg("losses"), py::arg("grad_dot_logits"), py::arg("num_threads"),
        "Turn a chunk of scores into losses and gradients; arguments are addresses, 0 for none.");
  m.def(("add_column_sums_" + suffix).c_str(), &add_column_sums<T>, py::arg("chunk"), py::kw_only(),
        py::arg("largest"), py::arg("sums"), py::arg("positive_logits"), py::arg("num_threads"),
        "Add a chunk of scores to the sums of its columns; arguments are addresses.");
}

void pack_bf16(std::uintptr_t columns, std::int64_t num_columns, std::int64_t dim,
               std::int64_t stride, std::int64_t step, std::uintptr_t packed, int num_threads) {
  without_gil(product_of(0, num_columns, dim), [&] {
    hybrid_fast::pack_bf16({at<const std::uint16_t>(columns), num_columns, dim, stride, step},
                           at<std::uint16_t>(packed), num_threads);
  });
}

void multiply_bf16(std::uintptr_t rows, std::int64_t num_rows, std::int64_t dim,
                   std::int64_t stride, std::int64_t step, std::uintptr_t packed,
                   std::int64_t num_columns, std::uintptr_t out, bool add, int num_threads) {
  without_gil(product_of(num_rows, num_columns, dim), [&] {
    hybrid_fast::multiply_bf16({at<const std::uint16_t>(rows), num_rows, dim, stride, step},
                               at<const std::uint16_t>(packed), num_columns, at<float>(out), add,
                               num_threads);
  });
}

void contrast_bf16_rows(const py::dict& chunk, std::uintptr_t queries, std::uintptr_t packed,
                        std::int64_t dim, std::uintptr_t coefficients, std::uintptr_t column_lse,
                        std::uintptr_t column_coefficients, std::uintptr_t losses,
                        std::uintptr_t grad_dot_logits, std::uintptr_t bf16,
                        std::uintptr_t grad_positives, int num_threads) {
  const ContrastChunk<float> rows = contrast_chunk<float>(chunk);
  const ContrastGradient<float> gradient = contrast_gradient<float>(
      coefficients, column_lse, column_coefficients, losses, grad_dot_logits, bf16, grad_positives);
  without_gil(rows_of(rows), [&] {
    hybrid_fast::contrast_bf16_rows(rows, gradient, at<const std::uint16_t>(queries),
                                    at<const std::uint16_t>(packed), dim, num_threads);
  });
}

void add_positives(std::uintptr_t weights, std::int64_t count, std::uintptr_t vectors,
                   std::uintptr_t from, std::uintptr_t sums, std::uintptr_t into, std::int64_t dim,
                   int num_threads) {
  const auto what = [=] {
    return "the gradients of " + std::to_string(count) + " positives of " + std::to_string(dim) +
           " coordinates";
  };
  without_gil(what, [&] {
    hybrid_fast::add_positives(at<const float>(weights), count, at<const std::uint16_t>(vectors),
                               at<const std::int64_t>(from), at<float>(sums),
                               at<const std::int64_t>(into), dim, num_threads);
  });
}

void define_bf16(py::module_& m) {
  m.def("has_bf16_product", &has_bf16_product,
        "Whether this processor multiplies bfloat16 (AMX or AVX-512 BF16).");
  m.def("packed_size", &packed_size, py::arg("num_columns"), py::arg("dim"),
        "Return how many numbers the packed form of a bfloat16 matrix has.");
  m.def(
      "pack_bf16", &pack_bf16, py::kw_only(), py::arg("columns"), py::arg("num_columns"),
      py::arg("dim"), py::arg("stride"), py::arg("step"), py::arg("packed"), py::arg("num_threads"),
      "Pack bfloat16 columns, `stride` apart, their coordinates `step`; arguments are addresses.");
  m.def("multiply_bf16", &multiply_bf16, py::kw_only(), py::arg("rows"), py::arg("num_rows"),
        py::arg("dim"), py::arg("stride"), py::arg("step"), py::arg("packed"),
        py::arg("num_columns"), py::arg("out"), py::arg("add"), py::arg("num_threads"),
        "Write, or add, the float product of bfloat16 rows, `stride` apart, their coordinates\n"
        "`step`, and packed columns; arguments are addresses.");
  m.def("contrast_bf16_rows", &contrast_bf16_rows, py::arg("chunk"), py::kw_only(),
        py::arg("queries"), py::arg("packed"), py::arg("dim"), py::arg("coefficients"),
        py::arg("column_lse"), py::arg("column_coefficients"), py::arg("losses"),
        py::arg("grad_dot_logits"), py::arg("bf16"), py::arg("grad_positives"),
        py::arg("num_threads"),
        "As contrast_rows_float, on the product of bfloat16 queries and packed passages; the\n"
        "gradient is rounded to bfloat16 but for the positives', which stand apart.");
  m.def("add_positives", &add_positives, py::kw_only(), py::arg("weights"), py::arg("count"),
        py::arg("vectors"), py::arg("from_rows"), py::arg("sums"), py::arg("into_rows"),
        py::arg("dim"), py::arg("num_threads"),
        "Add weight i times bfloat16 vector from_rows[i] to sum into_rows[i]; arguments are\n"
        "addresses, and rows are 0, 1, .. where they are 0.");
}

}  // namespace

void bind_infonce(py::module_& m) {
  define_contrast<float>(m, "float");
  define_contrast<double>(m, "double");
  define_bf16(m);
  m.def("contrast_instructions", &chosen_instructions,
        "The instruction set of the contrastive kernels: amx, avx512, avx2 or portable; the\n"
        "widest of this processor, or the one that HYBRID_FAST_CPU names.");
  m.def("has_amx", &has_amx, "Whether this processor has tiles for products (AMX).");
}

}  // namespace hybrid_fast::bindings
