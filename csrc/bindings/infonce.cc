#include <cstdint>
#include <string>

#include "bindings/call_arrays.h"
#include "bindings/negative_mask.h"
#include "bindings/packed_columns.h"
#include "core/contrast_rows.h"
#include "core/instructions.h"

namespace hybrid_fast::bindings {
namespace {

constexpr const char* kTypes = "float32 or float64";

// Calls call(T{}) for the type T of the numbers of an array.
template <typename Call>
auto with_type(const py::object& array, Call&& call) {
  return is_array<double>(array) ? call(double{}) : call(float{});
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

// What the gradient of rows needs beside their losses; None for losses alone.
struct GradientArguments {
  const py::object &coefficients, &column_lse, &column_coefficients;
};

template <typename T>
void read_gradient(ContrastGradient<T>& gradient, const ContrastChunk<T>& chunk,
                   const GradientArguments& given, CallArrays& arrays) {
  require_together(
      {{"column_lse", given.column_lse}, {"column_coefficients", given.column_coefficients}});
  if (given.coefficients.is_none() && !given.column_lse.is_none()) {
    throw py::value_error(
        "column_lse is given without coefficients; losses alone have one direction");
  }
  gradient.coefficients =
      arrays.optional_input<T>(given.coefficients, "coefficients", {chunk.num_rows}, kRows);
  gradient.column_lse =
      arrays.optional_input<T>(given.column_lse, "column_lse", {chunk.num_columns}, kColumns);
  gradient.column_coefficients = arrays.optional_input<T>(
      given.column_coefficients, "column_coefficients", {chunk.num_columns}, kColumns);
}

// Makes an array for results of rows, to which `data` points then.
template <typename T>
py::object make_results(py::ssize_t num_rows, T*& data) {
  Array<T> results(num_rows);
  data = results.mutable_data();
  return results;
}

py::tuple contrast_rows(const py::object& scores, const py::object& positives,
                        const py::object& negative_mask, double logit_scale, int num_threads,
                        const py::object& coefficients, const py::object& column_lse,
                        const py::object& column_coefficients) {
  return with_type(scores, [&](auto type) {
    using T = decltype(type);
    CallArrays arrays;
    auto chunk = chunk_of_scores<T>(scores, logit_scale, arrays);
    add_rows(chunk, positives, negative_mask, arrays);
    ContrastGradient<T> gradient{};
    read_gradient(gradient, chunk, {coefficients, column_lse, column_coefficients}, arrays);
    const py::object losses = make_results(chunk.num_rows, gradient.losses);
    py::object dots = py::none();
    if (!coefficients.is_none()) dots = make_results(chunk.num_rows, gradient.grad_dot_logits);
    without_gil(subject_of(chunk),
                [&] { hybrid_fast::contrast_rows(chunk, gradient, num_threads); });
    return py::make_tuple(losses, dots);
  });
}

py::object add_column_sums(const py::object& scores, const py::object& positives,
                           const py::object& negative_mask, double logit_scale,
                           const py::object& sums, int num_threads) {
  return with_type(scores, [&](auto type) {
    using T = decltype(type);
    CallArrays arrays;
    auto chunk = chunk_of_scores<T>(scores, logit_scale, arrays);
    add_rows(chunk, positives, negative_mask, arrays);
    T* of_columns = arrays.output<T>(sums, "sums", {2, chunk.num_columns},
                                     "the largest logit of each column, and its sum");
    T* logits = nullptr;
    const py::object results = make_results(chunk.num_rows, logits);
    without_gil(subject_of(chunk), [&] {
      hybrid_fast::add_column_sums(chunk, of_columns, of_columns + chunk.num_columns, logits,
                                   num_threads);
    });
    return results;
  });
}

py::tuple contrast_bf16_rows(const py::object& queries, const py::object& passages,
                             const py::object& positives, const py::object& negative_mask,
                             double logit_scale, int num_threads, const py::object& coefficients,
                             const py::object& column_lse, const py::object& column_coefficients,
                             const py::object& gradient) {
  CallArrays arrays;
  const auto& packed = checked_object<PackedColumns>(passages, "passages", "PackedColumns");
  const py::ssize_t num_rows = checked<std::uint16_t>(queries, "queries", 2).shape(0);
  const auto* vectors = arrays.input<std::uint16_t>(queries, "queries", {num_rows, packed.dim()},
                                                    "coordinates of the passages");
  ContrastChunk<float> chunk{
      nullptr, num_rows, packed.num_columns(), static_cast<float>(logit_scale), nullptr, {}};
  add_rows(chunk, positives, negative_mask, arrays);
  require_together({{"coefficients", coefficients}, {"gradient", gradient}});
  ContrastGradient<float> out{};
  read_gradient(out, chunk, {coefficients, column_lse, column_coefficients}, arrays);
  out.bf16 = arrays.optional_output<std::uint16_t>(gradient, "gradient",
                                                   {num_rows, packed.num_columns()}, kPairs);
  const py::object losses = make_results(num_rows, out.losses);
  py::object dots = py::none(), of_positives = py::none();
  if (!coefficients.is_none()) {
    dots = make_results(num_rows, out.grad_dot_logits);
    of_positives = make_results(num_rows, out.grad_positives);
  }
  without_gil(subject_of(chunk), [&] {
    hybrid_fast::contrast_bf16_rows(chunk, out, vectors, packed.data(), packed.dim(), num_threads);
  });
  return py::make_tuple(losses, dots, of_positives);
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
  m.def("contrast_rows", &contrast_rows, py::arg("scores"), py::arg("positives"),
        py::arg("negative_mask"), py::kw_only(), py::arg("logit_scale"), py::arg("num_threads"),
        py::arg("coefficients") = none, py::arg("column_lse") = none,
        py::arg("column_coefficients") = none,
        "Return the losses of rows of scores (R,), and None; the scores are overwritten.\n\n"
        "With coefficients (R,) the scores become the gradients of their logits, and the second\n"
        "result is the sum of gradient times logit (R,). With column_lse and column_coefficients\n"
        "(N,) all are those of both directions. scores: (R, N), float32 or float64, as the other\n"
        "numbers then are. positives: int64 (R,).");
  m.def("add_column_sums", &add_column_sums, py::arg("scores"), py::arg("positives"),
        py::arg("negative_mask"), py::kw_only(), py::arg("logit_scale"), py::arg("sums"),
        py::arg("num_threads"),
        "Add a chunk of scores, which are overwritten, to the sums of its columns (2, N): the\n"
        "largest logit, and the sum of exponentials relative to it. Return the logits of the\n"
        "positives (R,).");
  m.def("contrast_bf16_rows", &contrast_bf16_rows, py::arg("queries"), py::arg("passages"),
        py::arg("positives"), py::arg("negative_mask"), py::kw_only(), py::arg("logit_scale"),
        py::arg("num_threads"), py::arg("coefficients") = none, py::arg("column_lse") = none,
        py::arg("column_coefficients") = none, py::arg("gradient") = none,
        "As contrast_rows on the product of queries, bfloat16 as uint16 (R, K), and passages,\n"
        "PackedColumns; other numbers are float32. With coefficients the gradient is written,\n"
        "bfloat16 as uint16 (R, N), with 0 at the positives, and that of these, float32 (R,), is\n"
        "the third result.");
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
