#include <cstdint>
#include <string>

#include "bindings/call_arrays.h"
#include "bindings/negative_mask.h"
#include "bindings/packed_columns.h"
#include "core/contrast_rows.h"
#include "core/instructions.h"

namespace hybrid_fast::bindings {
namespace {

constexpr const char* kRows = "an entry for each row";
constexpr const char* kColumns = "an entry for each column";
constexpr const char* kPairs = "rows and columns";
constexpr const char* kTypes = "float32 or float64";

// Calls call(T{}) for the type T of the numbers of an array.
template <typename Call>
void with_type(const py::object& array, Call&& call) {
  is_array<double>(array) ? call(double{}) : call(float{});
}

// What the memory is for that threads take.
template <typename T>
auto subject_of(const ContrastChunk<T>& chunk) {
  return [&chunk] {
    return "the loss of " + std::to_string(chunk.num_rows) + " rows of " +
           std::to_string(chunk.num_columns) + " scores";
  };
}

// A chunk whose positives and mask are not read yet.
template <typename T>
ContrastChunk<T> chunk_of_scores(const py::object& scores, double logit_scale, CallArrays& arrays) {
  const auto array = checked<T>(scores, "scores", 2, kTypes);
  const py::ssize_t num_rows = array.shape(0), num_columns = array.shape(1);
  T* data = arrays.output<T>(scores, "scores", {num_rows, num_columns}, kPairs);
  return {data, num_rows, num_columns, static_cast<T>(logit_scale), nullptr, {}};
}

template <typename T>
void add_rows(ContrastChunk<T>& chunk, const py::object& positives, const py::object& negative_mask,
              CallArrays& arrays) {
  chunk.positives = arrays.input<std::int64_t>(positives, "positives", {chunk.num_rows}, kRows);
  chunk.negative_mask = mask_of(negative_mask, chunk.num_rows, chunk.num_columns, arrays);
}

// What both kernels of rows are told and what they write, beside the gradient.
struct RowArguments {
  const py::object &coefficients, &column_lse, &column_coefficients, &losses, &grad_dot_logits;
};

template <typename T>
ContrastGradient<T> gradient_of(const ContrastChunk<T>& chunk, const RowArguments& given,
                                CallArrays& arrays) {
  const py::ssize_t num_rows = chunk.num_rows, num_columns = chunk.num_columns;
  require_together(
      {{"coefficients", given.coefficients}, {"grad_dot_logits", given.grad_dot_logits}});
  require_together(
      {{"column_lse", given.column_lse}, {"column_coefficients", given.column_coefficients}});
  if (given.coefficients.is_none() && !given.column_lse.is_none()) {
    throw py::value_error(
        "column_lse is given without coefficients; losses alone have one direction");
  }
  ContrastGradient<T> gradient{};
  gradient.coefficients =
      arrays.optional_input<T>(given.coefficients, "coefficients", {num_rows}, kRows);
  gradient.column_lse =
      arrays.optional_input<T>(given.column_lse, "column_lse", {num_columns}, kColumns);
  gradient.column_coefficients = arrays.optional_input<T>(
      given.column_coefficients, "column_coefficients", {num_columns}, kColumns);
  gradient.losses = arrays.output<T>(given.losses, "losses", {num_rows}, kRows);
  gradient.grad_dot_logits =
      arrays.optional_output<T>(given.grad_dot_logits, "grad_dot_logits", {num_rows}, kRows);
  return gradient;
}

void contrast_rows(const py::object& scores, const py::object& positives,
                   const py::object& negative_mask, double logit_scale, const py::object& losses,
                   int num_threads, const py::object& coefficients, const py::object& column_lse,
                   const py::object& column_coefficients, const py::object& grad_dot_logits) {
  with_type(scores, [&](auto type) {
    CallArrays arrays;
    auto chunk = chunk_of_scores<decltype(type)>(scores, logit_scale, arrays);
    add_rows(chunk, positives, negative_mask, arrays);
    const auto gradient = gradient_of(
        chunk, {coefficients, column_lse, column_coefficients, losses, grad_dot_logits}, arrays);
    without_gil(subject_of(chunk),
                [&] { hybrid_fast::contrast_rows(chunk, gradient, num_threads); });
  });
}

void add_column_sums(const py::object& scores, const py::object& positives,
                     const py::object& negative_mask, double logit_scale, const py::object& sums,
                     const py::object& positive_logits, int num_threads) {
  with_type(scores, [&](auto type) {
    using T = decltype(type);
    CallArrays arrays;
    auto chunk = chunk_of_scores<T>(scores, logit_scale, arrays);
    add_rows(chunk, positives, negative_mask, arrays);
    T* of_columns = arrays.output<T>(sums, "sums", {2, chunk.num_columns},
                                     "the largest logit of each column, and its sum");
    T* logits = arrays.output<T>(positive_logits, "positive_logits", {chunk.num_rows}, kRows);
    without_gil(subject_of(chunk), [&] {
      hybrid_fast::add_column_sums(chunk, of_columns, of_columns + chunk.num_columns, logits,
                                   num_threads);
    });
  });
}

void contrast_bf16_rows(const py::object& queries, const py::object& passages,
                        const py::object& positives, const py::object& negative_mask,
                        double logit_scale, const py::object& losses, int num_threads,
                        const py::object& coefficients, const py::object& column_lse,
                        const py::object& column_coefficients, const py::object& grad_dot_logits,
                        const py::object& gradient, const py::object& grad_positives) {
  CallArrays arrays;
  const PackedColumns& packed = checked_columns(passages, "passages");
  const auto vectors = checked<std::uint16_t>(queries, "queries", 2);
  const py::ssize_t num_rows = vectors.shape(0);
  const std::uint16_t* data = arrays.input<std::uint16_t>(
      queries, "queries", {num_rows, packed.dim()}, "coordinates of the passages");
  ContrastChunk<float> chunk{
      nullptr, num_rows, packed.num_columns(), static_cast<float>(logit_scale), nullptr, {}};
  add_rows(chunk, positives, negative_mask, arrays);
  require_together(
      {{"coefficients", coefficients}, {"gradient", gradient}, {"grad_positives", grad_positives}});
  auto out = gradient_of(
      chunk, {coefficients, column_lse, column_coefficients, losses, grad_dot_logits}, arrays);
  out.bf16 = arrays.optional_output<std::uint16_t>(gradient, "gradient",
                                                   {num_rows, packed.num_columns()}, kPairs);
  out.grad_positives =
      arrays.optional_output<float>(grad_positives, "grad_positives", {num_rows}, kRows);
  without_gil(subject_of(chunk), [&] {
    hybrid_fast::contrast_bf16_rows(chunk, out, data, packed.data(), packed.dim(), num_threads);
  });
}

// Numbers of `count` rows, or null for 0, 1, .., count - 1.
const std::int64_t* row_numbers(const py::object& given, const char* name, py::ssize_t count,
                                py::ssize_t num_rows, const char* of, CallArrays& arrays) {
  const auto* rows =
      arrays.optional_input<std::int64_t>(given, name, {count}, "an entry for each weight");
  if (rows == nullptr && count > num_rows) {
    throw py::value_error(std::string(of) + " has " + std::to_string(num_rows) +
                          " rows; weights has " + std::to_string(count));
  }
  for (py::ssize_t i = 0; rows != nullptr && i < count; ++i) {
    if (rows[i] >= 0 && rows[i] < num_rows) continue;
    throw py::value_error(std::string(name) + " has row " + std::to_string(rows[i]) + "; " + of +
                          " has rows 0 to " + std::to_string(num_rows - 1));
  }
  return rows;
}

void add_positives(const py::object& weights, const py::object& vectors, const py::object& sums,
                   int num_threads, const py::object& from_rows, const py::object& into_rows) {
  CallArrays arrays;
  const py::ssize_t count = checked<float>(weights, "weights", 1).shape(0);
  const auto all = checked<std::uint16_t>(vectors, "vectors", 2);
  const py::ssize_t num_vectors = all.shape(0), dim = all.shape(1);
  const py::ssize_t num_sums = checked<float>(sums, "sums", 2).shape(0);
  const auto* weight = arrays.input<float>(weights, "weights", {count}, kRows);
  const auto* vector =
      arrays.input<std::uint16_t>(vectors, "vectors", {num_vectors, dim}, "rows and coordinates");
  auto* sum = arrays.output<float>(sums, "sums", {num_sums, dim}, "coordinates of the vectors");
  const auto* from = row_numbers(from_rows, "from_rows", count, num_vectors, "vectors", arrays);
  const auto* into = row_numbers(into_rows, "into_rows", count, num_sums, "sums", arrays);
  const auto subject = [=] {
    return "the gradients of " + std::to_string(count) + " positives of " + std::to_string(dim) +
           " coordinates";
  };
  without_gil(subject, [&] {
    hybrid_fast::add_positives(weight, count, vector, from, sum, into, dim, num_threads);
  });
}

}  // namespace

void bind_infonce(py::module_& m) {
  const py::none none;
  m.def(
      "contrast_rows", &contrast_rows, py::arg("scores"), py::arg("positives"),
      py::arg("negative_mask"), py::kw_only(), py::arg("logit_scale"), py::arg("losses"),
      py::arg("num_threads"), py::arg("coefficients") = none, py::arg("column_lse") = none,
      py::arg("column_coefficients") = none, py::arg("grad_dot_logits") = none,
      "Turn scores into losses and, in place, into the gradients of their logits.\n\n"
      "scores: (R, N), float32 or float64, overwritten; other numbers have their type.\n"
      "positives: int64 (R,). coefficients: (R,), or None for the losses alone; with column_lse\n"
      "and column_coefficients (N,) the gradient is that of both directions. Written: losses and\n"
      "grad_dot_logits (R,), the sum of gradient times logit.");
  m.def("add_column_sums", &add_column_sums, py::arg("scores"), py::arg("positives"),
        py::arg("negative_mask"), py::kw_only(), py::arg("logit_scale"), py::arg("sums"),
        py::arg("positive_logits"), py::arg("num_threads"),
        "Add a chunk of scores, which are overwritten, to the sums of its columns (2, N): the\n"
        "largest logit, and the sum of exponentials relative to it. Write positive_logits (R,).");
  m.def("contrast_bf16_rows", &contrast_bf16_rows, py::arg("queries"), py::arg("passages"),
        py::arg("positives"), py::arg("negative_mask"), py::kw_only(), py::arg("logit_scale"),
        py::arg("losses"), py::arg("num_threads"), py::arg("coefficients") = none,
        py::arg("column_lse") = none, py::arg("column_coefficients") = none,
        py::arg("grad_dot_logits") = none, py::arg("gradient") = none,
        py::arg("grad_positives") = none,
        "As contrast_rows on the product of queries, bfloat16 as uint16 (R, K), and passages,\n"
        "PackedColumns; numbers are float32. With coefficients `gradient`, bfloat16 as uint16 (R,\n"
        "N), gets the gradient, 0 at the positives, and grad_positives (R,) that of these.");
  m.def("add_positives", &add_positives, py::arg("weights"), py::arg("vectors"), py::arg("sums"),
        py::kw_only(), py::arg("num_threads"), py::arg("from_rows") = none,
        py::arg("into_rows") = none,
        "Add weight i, float32, times row from_rows[i] of vectors, bfloat16 as uint16 (.., K), to\n"
        "row into_rows[i] of sums, float32 (.., K); rows are 0, 1, .. for None.");
  m.def("contrast_instructions", &chosen_instructions,
        "The instruction set of the contrastive kernels: amx, avx512, avx2 or portable; the\n"
        "widest of this processor, or the one that HYBRID_FAST_CPU names.");
  m.def("has_amx", &has_amx, "Whether this processor has tiles for products (AMX).");
}

}  // namespace hybrid_fast::bindings
