// The only file that sees pybind11: checks shapes, releases the GIL, hands arrays to the core.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "core/bf16_product.h"
#include "core/contrast_rows.h"
#include "core/index_file.h"
#include "core/lazy_adam.h"
#include "core/plan_index.h"
#include "core/planner.h"
#include "core/rank_counting.h"
#include "core/row_ranking.h"
#include "core/text_hash.h"
#include "core/token_rows.h"
#include "core/token_sums.h"

namespace py = pybind11;

namespace {

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

void require_dimensions(const py::array& array, const char* name, py::ssize_t num_dimensions) {
  if (array.ndim() != num_dimensions) {
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(array.ndim()) +
                                " dimensions; it needs " + std::to_string(num_dimensions));
  }
}

std::pair<Array<std::int64_t>, Array<std::int64_t>> count_ranks(
    const Array<float>& scores, const Array<std::int64_t>& block_starts,
    const Array<std::int64_t>& offsets, const Array<std::int64_t>& columns, int num_threads) {
  require_dimensions(scores, "scores", 2);
  require_dimensions(block_starts, "block_starts", 1);
  require_dimensions(offsets, "offsets", 1);
  require_dimensions(columns, "columns", 1);
  if (scores.shape(0) + 1 != offsets.size()) {
    throw std::invalid_argument("scores has " + std::to_string(scores.shape(0)) +
                                " rows; offsets needs one entry more");
  }
  Array<std::int64_t> block_ranks(columns.size()), row_ranks(columns.size());
  const hybrid_fast::RankQuestion question{view(scores), scores.shape(1), view(block_starts),
                                           view(offsets), view(columns)};
  const std::span<std::int64_t> block_span = view(block_ranks), row_span = view(row_ranks);
  {
    py::gil_scoped_release release;
    hybrid_fast::count_ranks(question, num_threads, block_span, row_span);
  }
  return {block_ranks, row_ranks};
}

hybrid_fast::RankingQuestion ranking_question(const Array<float>& scores, std::int64_t num_first) {
  require_dimensions(scores, "scores", 2);
  if (num_first < 0 || num_first > scores.shape(1)) {
    throw std::invalid_argument("num_first is " + std::to_string(num_first) + "; the rows have " +
                                std::to_string(scores.shape(1)) + " columns");
  }
  return {view(scores), scores.shape(0), scores.shape(1), num_first};
}

std::pair<Array<float>, Array<std::int64_t>> rank_rows(const Array<float>& scores,
                                                       std::int64_t num_first, int num_threads) {
  const hybrid_fast::RankingQuestion question = ranking_question(scores, num_first);
  Array<float> ranks({scores.shape(0), scores.shape(1)});
  Array<std::int64_t> first({scores.shape(0), static_cast<py::ssize_t>(num_first)});
  const std::span<float> rank_span = view(ranks);
  const std::span<std::int64_t> first_span = view(first);
  {
    py::gil_scoped_release release;
    hybrid_fast::rank_rows(question, num_threads, rank_span, first_span);
  }
  return {ranks, first};
}

Array<std::int64_t> find_first(const Array<float>& scores, std::int64_t num_first,
                               int num_threads) {
  const hybrid_fast::RankingQuestion question = ranking_question(scores, num_first);
  Array<std::int64_t> first({scores.shape(0), static_cast<py::ssize_t>(num_first)});
  const std::span<std::int64_t> first_span = view(first);
  {
    py::gil_scoped_release release;
    hybrid_fast::find_first(question, num_threads, first_span);
  }
  return first;
}

// A batch: query rows, passage rows, kind, entries substituted, lanes substituted.
using PlannedBatch =
    std::tuple<Array<std::int64_t>, Array<std::int64_t>, int, std::int32_t, std::int32_t>;

// Plans the whole global batch of a step and returns its slots [begin, end).
PlannedBatch plan(const hybrid_fast::Planner& planner, std::int64_t step, std::int64_t begin,
                  std::int64_t end) {
  const std::int64_t batch_size = planner.batch_size();
  if (begin < 0 || begin > end || end > batch_size) {
    throw std::invalid_argument("slots [" + std::to_string(begin) + ", " + std::to_string(end) +
                                ") lie outside a batch of " + std::to_string(batch_size));
  }
  Array<std::int64_t> query_rows(end - begin), passage_rows(end - begin);
  std::int64_t* queries = query_rows.mutable_data();
  std::int64_t* passages = passage_rows.mutable_data();
  hybrid_fast::BatchInfo info;
  {
    py::gil_scoped_release release;
    if (end - begin == batch_size) {
      info = planner.plan(step, queries, passages);
    } else {
      std::vector<std::int64_t> all(2 * batch_size);
      info = planner.plan(step, all.data(), all.data() + batch_size);
      std::copy(all.data() + begin, all.data() + end, queries);
      std::copy(all.data() + batch_size + begin, all.data() + batch_size + end, passages);
    }
  }
  return {query_rows, passage_rows, static_cast<int>(info.kind), info.substituted_entries,
          info.substituted_lanes};
}

using hybrid_fast::NotedIndex;
using hybrid_fast::PlanIndex;

// Between the stages of building, with the GIL; an exception it raises ends the building.
PlanIndex::Progress progress_of(const py::object& callback) {
  if (callback.is_none()) return {};
  return [&callback](int done, int total) {
    py::gil_scoped_acquire acquire;
    callback(done, total);
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  };
}

NotedIndex build_index(const Array<std::int64_t>& groups, const Array<std::int32_t>& languages,
                       const Array<std::int64_t>& passages, const Array<std::uint8_t>& uses,
                       const Array<std::int32_t>& sources, std::int32_t num_languages,
                       std::int32_t num_sources, std::string note, const py::object& progress) {
  const hybrid_fast::Columns columns{view(groups),  view(languages), view(passages), view(uses),
                                     view(sources), num_languages,   num_sources};
  const PlanIndex::Progress report = progress_of(progress);
  py::gil_scoped_release release;
  return {std::make_shared<PlanIndex>(PlanIndex::build(columns, report)), std::move(note)};
}

// Runs work that reads or writes a file, without the GIL; its failure is an OSError.
template <typename Work>
auto with_file(const std::string& path, Work&& work) {
  try {
    py::gil_scoped_release release;
    return work();
  } catch (const std::system_error& error) {
    errno = error.code().value();
    PyErr_SetFromErrnoWithFilename(PyExc_OSError, path.c_str());
    throw py::error_already_set();
  }
}

py::bytes index_bytes(const NotedIndex& noted) {
  std::string bytes;
  hybrid_fast::write_index(*noted.index, noted.note, [&](std::span<const std::byte> part) {
    bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
  });
  return bytes;
}

Array<std::uint64_t> hash_texts(const Array<std::int64_t>& offsets,
                                const Array<std::uint8_t>& data) {
  require_dimensions(offsets, "offsets", 1);
  require_dimensions(data, "data", 1);
  if (offsets.size() == 0) throw std::invalid_argument("offsets is empty; it needs one entry");
  Array<std::uint64_t> hashes(offsets.size() - 1);
  const std::span<std::uint64_t> result = view(hashes);
  {
    py::gil_scoped_release release;
    hybrid_fast::hash_texts(view(offsets), view(data), result);
  }
  return hashes;
}

template <typename Id>
std::pair<Array<Id>, Array<std::int64_t>> take_tokens(const Array<Id>& ids,
                                                      const Array<std::int64_t>& offsets,
                                                      const Array<std::int64_t>& rows) {
  if (offsets.size() == 0) throw std::invalid_argument("offsets is empty; it needs one entry");
  const hybrid_fast::TokenRows<Id> texts{view(ids), view(offsets)};
  Array<std::int64_t> copy_offsets(rows.size() + 1);
  hybrid_fast::place_tokens(texts, view(rows), view(copy_offsets));
  Array<Id> copy(copy_offsets.data()[rows.size()]);
  const std::span<const std::int64_t> places = view(std::as_const(copy_offsets));
  const std::span<Id> result = view(copy);
  {
    py::gil_scoped_release release;
    hybrid_fast::copy_tokens(texts, view(rows), places, result);
  }
  return {copy, copy_offsets};
}

template <typename Id>
Array<std::int64_t> pad_tokens(const Array<Id>& ids, const Array<std::int64_t>& offsets,
                               const Array<std::int64_t>& rows, std::int64_t length,
                               std::int64_t pad_id) {
  if (offsets.size() == 0) throw std::invalid_argument("offsets is empty; it needs one entry");
  if (length < 0) throw std::invalid_argument("length is negative");
  const hybrid_fast::TokenRows<Id> texts{view(ids), view(offsets)};
  Array<std::int64_t> matrix({rows.size(), static_cast<py::ssize_t>(length)});
  const std::span<std::int64_t> result = view(matrix);
  {
    py::gil_scoped_release release;
    hybrid_fast::pad_tokens(texts, view(rows), length, pad_id, result);
  }
  return matrix;
}

template <typename Id>
void define_tokens(py::module_& m) {
  m.def("take_tokens", &take_tokens<Id>, py::arg("ids").noconvert(), py::arg("offsets").noconvert(),
        py::arg("rows").noconvert(),
        "Return the ids of the chosen texts, one after another, and where each begins.");
  m.def("pad_tokens", &pad_tokens<Id>, py::arg("ids").noconvert(), py::arg("offsets").noconvert(),
        py::arg("rows").noconvert(), py::arg("length"), py::arg("pad_id"),
        "Return the chosen texts as rows of a matrix, filled up with pad_id.");
}

template <typename T>
std::pair<Array<std::int64_t>, py::array> sum_by_token(const Array<std::int64_t>& ids,
                                                       const Array<std::int64_t>& begins,
                                                       const Array<T>& gradient,
                                                       std::int64_t vocab_size, int num_threads) {
  require_dimensions(ids, "ids", 1);
  require_dimensions(begins, "begins", 1);
  require_dimensions(gradient, "gradient", 2);
  if (gradient.shape(0) != begins.size()) {
    throw std::invalid_argument("gradient has " + std::to_string(gradient.shape(0)) +
                                " rows; begins has " + std::to_string(begins.size()) + " texts");
  }
  const std::span<const std::int64_t> id_span = view(ids), begin_span = view(begins);
  hybrid_fast::TokenUses uses;
  std::vector<std::int64_t> lengths(begin_span.size());
  {
    py::gil_scoped_release release;
    uses = hybrid_fast::find_uses(id_span, begin_span, vocab_size);
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      const auto end = i + 1 < lengths.size() ? begin_span[i + 1] : std::int64_t(id_span.size());
      lengths[i] = end - begin_span[i];
    }
  }
  const auto num_tokens = static_cast<py::ssize_t>(uses.tokens.size());
  Array<std::int64_t> tokens(num_tokens, uses.tokens.data());
  Array<T> sums({num_tokens, gradient.shape(1)});
  T* const out = sums.mutable_data();
  {
    py::gil_scoped_release release;
    hybrid_fast::sum_by_token(uses, lengths, gradient.data(), gradient.shape(1), out, num_threads);
  }
  return {tokens, sums};
}

template <typename T>
void define_token_gradients(py::module_& m) {
  m.def("sum_by_token", &sum_by_token<T>, py::arg("ids").noconvert(), py::arg("begins").noconvert(),
        py::arg("gradient").noconvert(), py::arg("vocab_size"), py::arg("num_threads"),
        "Return the different tokens, ascending, and of each the gradient that the means of texts\n"
        "give it. Text i is ids[begins[i]:begins[i + 1]].");
}

template <typename T>
hybrid_fast::AdamTable<T> adam_table(Array<T>& weights, Array<T>& first_moments,
                                     Array<T>& second_moments, Array<std::int32_t>& weight_steps,
                                     Array<std::int32_t>& moment_steps) {
  require_dimensions(weights, "weights", 2);
  const py::ssize_t num_rows = weights.shape(0), dim = weights.shape(1);
  for (const Array<T>* moments : {&first_moments, &second_moments}) {
    if (moments->ndim() != 2 || moments->shape(0) != num_rows || moments->shape(1) != dim) {
      throw std::invalid_argument("moments must have the shape of the weights");
    }
  }
  if (weight_steps.size() != num_rows || moment_steps.size() != num_rows) {
    throw std::invalid_argument("steps must have an entry for each row of the weights");
  }
  return {weights.mutable_data(),
          first_moments.mutable_data(),
          second_moments.mutable_data(),
          weight_steps.mutable_data(),
          moment_steps.mutable_data(),
          num_rows,
          dim};
}

template <typename T>
void update_rows(Array<T>& weights, Array<T>& first_moments, Array<T>& second_moments,
                 Array<std::int32_t>& weight_steps, Array<std::int32_t>& moment_steps,
                 const Array<double>& history, std::pair<double, double> betas, double epsilon,
                 const Array<std::int64_t>& rows, const std::optional<Array<T>>& gradient,
                 int num_threads) {
  const auto table = adam_table(weights, first_moments, second_moments, weight_steps, moment_steps);
  if (!(betas.first >= 0 && betas.first * betas.first < betas.second && betas.second < 1)) {
    throw std::invalid_argument("betas must have 0 <= beta1 < sqrt(beta2) < 1");
  }
  if (history.ndim() != 2 || history.shape(0) != 3) {
    throw std::invalid_argument("history must have 3 rows");
  }
  if (gradient && (gradient->ndim() != 2 || gradient->shape(0) != rows.size() ||
                   gradient->shape(1) != table.dim)) {
    throw std::invalid_argument("gradient must have a row of the weights' length for each of rows");
  }
  const std::span<const double> all = view(history);
  const std::size_t count = all.size() / 3;
  const hybrid_fast::AdamHistory updates{all.first(count), all.subspan(count, count),
                                         all.last(count),  betas.first,
                                         betas.second,     epsilon};
  const std::span<const std::int64_t> row_span = view(rows);
  const T* const gradient_data = gradient ? gradient->data() : nullptr;
  py::gil_scoped_release release;
  if (gradient_data != nullptr) {
    hybrid_fast::update_rows(table, updates, row_span, gradient_data, num_threads);
  } else {
    hybrid_fast::catch_up(table, updates, row_span, num_threads);
  }
}

template <typename T>
void define_lazy_adam(py::module_& m) {
  m.def("update_rows", &update_rows<T>, py::arg("weights").noconvert(),
        py::arg("first_moments").noconvert(), py::arg("second_moments").noconvert(),
        py::arg("weight_steps").noconvert(), py::arg("moment_steps").noconvert(), py::kw_only(),
        py::arg("history").noconvert(), py::arg("betas"), py::arg("epsilon"),
        py::arg("rows").noconvert(), py::arg("gradient").noconvert().none(true),
        py::arg("num_threads"),
        "Give rows, which ascend, the last update of AdamW's history and all that they missed;\n"
        "without a gradient give rows, in any order, what they missed. All in place.\n\n"
        "history: float64 (3, updates), 1 - learning rate * weight decay, learning rate /\n"
        "(1 - beta1^j) and 1 / sqrt(1 - beta2^j) of each; steps: int32, of each row the last\n"
        "update of its weights and the one that left its moments, from 1.");
}

std::unique_ptr<hybrid_fast::Planner> make_planner(const NotedIndex& noted, std::int64_t batch_size,
                                                   int kind, double alpha, double exponent,
                                                   std::vector<double> language_weights,
                                                   std::vector<double> pair_weights,
                                                   std::vector<double> source_weights,
                                                   bool single_pair, std::uint64_t seed,
                                                   std::int64_t world_size) {
  const hybrid_fast::PlanOptions options{batch_size,
                                         static_cast<hybrid_fast::Kind>(kind),
                                         alpha,
                                         exponent,
                                         std::move(language_weights),
                                         std::move(pair_weights),
                                         std::move(source_weights),
                                         single_pair,
                                         seed,
                                         world_size};
  py::gil_scoped_release release;
  return std::make_unique<hybrid_fast::Planner>(noted.index, options);
}

// Addresses of tensors, which torch alone knows: `hybrid_fast.ops` needs no NumPy. 0: none.
template <typename T>
T* at(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

template <typename T>
hybrid_fast::ContrastChunk<T> contrast_chunk(const py::dict& c) {
  const auto address = [&](const char* name) { return c[name].cast<std::uintptr_t>(); };
  const bool has_margin = !c["margin"].is_none();
  return {at<T>(address("scores")),
          c["num_rows"].cast<std::int64_t>(),
          c["num_columns"].cast<std::int64_t>(),
          c["scale"].cast<T>(),
          at<const std::int64_t>(address("positives")),
          at<const std::int64_t>(address("row_groups")),
          at<const std::int64_t>(address("column_groups")),
          at<const std::int64_t>(address("row_ids")),
          at<const std::int64_t>(address("column_ids")),
          at<const std::uint8_t>(address("mask")),
          c["mask_stride"].cast<std::int64_t>(),
          at<const std::uint8_t>(address("left_out_columns")),
          has_margin,
          has_margin ? c["margin"].cast<T>() : T{}};
}

template <typename T>
void contrast_rows(const py::dict& chunk, std::uintptr_t coefficients, std::uintptr_t log_sums,
                   std::uintptr_t factors, std::uintptr_t bf16, std::uintptr_t losses,
                   std::uintptr_t dots, int num_threads) {
  const hybrid_fast::ContrastChunk<T> rows = contrast_chunk<T>(chunk);
  const hybrid_fast::ContrastGradient<T> gradient{
      at<const T>(coefficients), at<const T>(log_sums), at<const T>(factors),
      at<std::uint16_t>(bf16),   at<T>(losses),         at<T>(dots)};
  py::gil_scoped_release release;
  hybrid_fast::contrast_rows(rows, gradient, num_threads);
}

template <typename T>
void add_column_sums(const py::dict& chunk, std::uintptr_t largest, std::uintptr_t sums,
                     std::uintptr_t positive_logits, int num_threads) {
  const hybrid_fast::ContrastChunk<T> rows = contrast_chunk<T>(chunk);
  py::gil_scoped_release release;
  hybrid_fast::add_column_sums(rows, at<T>(largest), at<T>(sums), at<T>(positive_logits),
                               num_threads);
}

template <typename T>
void define_contrast(py::module_& m, const std::string& suffix) {
  m.def(("contrast_rows_" + suffix).c_str(), &contrast_rows<T>, py::arg("chunk"), py::kw_only(),
        py::arg("coefficients"), py::arg("log_sums"), py::arg("factors"), py::arg("bf16"),
        py::arg("losses"), py::arg("dots"), py::arg("num_threads"),
        "Turn a chunk of scores into losses and gradients; arguments are addresses, 0 for none.");
  m.def(("add_column_sums_" + suffix).c_str(), &add_column_sums<T>, py::arg("chunk"), py::kw_only(),
        py::arg("largest"), py::arg("sums"), py::arg("positive_logits"), py::arg("num_threads"),
        "Add a chunk of scores to the sums of its columns; arguments are addresses.");
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "C++ core of hybrid_fast: batch planning, loss and rank kernels, texts and tokens.";

  m.def("count_ranks", &count_ranks, py::arg("scores").noconvert(),
        py::arg("block_starts").noconvert(), py::arg("offsets").noconvert(),
        py::arg("columns").noconvert(), py::arg("num_threads") = 1,
        "Return the ranks of chosen columns within their block and within their row of scores.\n\n"
        "Row r asks for columns[offsets[r]:offsets[r + 1]]; block b holds the columns\n"
        "block_starts[b]:block_starts[b + 1]. Ranks start at 1, highest score first, equal scores\n"
        "in the order of columns. Scores: float32, C-contiguous, no NaN; the rest int64.");

  m.def("rank_rows", &rank_rows, py::arg("scores").noconvert(), py::arg("num_first"),
        py::arg("num_threads") = 1,
        "Return the rank of every score in its row, and the first columns of each row.\n\n"
        "Ranks start at 1, highest score first, equal scores at the mean of the ranks they take:\n"
        "float32 (rows, columns). First columns: int64 (rows, num_first), equal scores in the\n"
        "order of columns. Scores: float32, C-contiguous, no NaN.");

  m.def("find_first", &find_first, py::arg("scores").noconvert(), py::arg("num_first"),
        py::arg("num_threads") = 1, "Return the first columns of each row, as rank_rows does.");

  using hybrid_fast::Share;
  py::class_<Share>(m, "Share", "What a law asked for and what it became.")
      .def_readonly("query_language", &Share::query_language)
      .def_readonly("passage_language", &Share::passage_language)
      .def_readonly("source", &Share::source)
      .def_readonly("size", &Share::size)
      .def_readonly("capacity", &Share::capacity)
      .def_readonly("asked", &Share::asked)
      .def_readonly("effective", &Share::effective);

  m.def("hash_texts", &hash_texts, py::arg("offsets").noconvert(), py::arg("data").noconvert(),
        "Return a 64-bit hash of each text data[offsets[i]:offsets[i + 1]], on all cores.");

  define_tokens<std::uint16_t>(m);
  define_tokens<std::int32_t>(m);
  define_token_gradients<float>(m);
  define_token_gradients<double>(m);
  define_lazy_adam<float>(m);
  define_lazy_adam<double>(m);

  define_contrast<float>(m, "float");
  define_contrast<double>(m, "double");
  m.def("has_bf16_product", &hybrid_fast::has_bf16_product,
        "Whether this processor multiplies bfloat16 (AVX-512 BF16).");
  m.def("packed_size", &hybrid_fast::packed_size, py::arg("num_columns"), py::arg("dim"),
        "Return how many numbers the packed form of a bfloat16 matrix has.");
  m.def(
      "pack_bf16",
      [](std::uintptr_t columns, std::int64_t num_columns, std::int64_t dim, std::int64_t stride,
         std::int64_t step, std::uintptr_t packed, int num_threads) {
        py::gil_scoped_release release;
        hybrid_fast::pack_bf16({at<const std::uint16_t>(columns), num_columns, dim, stride, step},
                               at<std::uint16_t>(packed), num_threads);
      },
      py::kw_only(), py::arg("columns"), py::arg("num_columns"), py::arg("dim"), py::arg("stride"),
      py::arg("step"), py::arg("packed"), py::arg("num_threads"),
      "Pack bfloat16 columns, `stride` apart, their coordinates `step`; arguments are addresses.");
  m.def(
      "contrast_bf16_rows",
      [](const py::dict& chunk, std::uintptr_t queries, std::uintptr_t packed, std::int64_t dim,
         std::uintptr_t coefficients, std::uintptr_t log_sums, std::uintptr_t factors,
         std::uintptr_t bf16, std::uintptr_t losses, std::uintptr_t dots, int num_threads) {
        const hybrid_fast::ContrastChunk<float> rows = contrast_chunk<float>(chunk);
        const hybrid_fast::ContrastGradient<float> gradient{
            at<const float>(coefficients), at<const float>(log_sums), at<const float>(factors),
            at<std::uint16_t>(bf16),       at<float>(losses),         at<float>(dots)};
        py::gil_scoped_release release;
        hybrid_fast::contrast_bf16_rows(rows, gradient, at<const std::uint16_t>(queries),
                                        at<const std::uint16_t>(packed), dim, num_threads);
      },
      py::arg("chunk"), py::kw_only(), py::arg("queries"), py::arg("packed"), py::arg("dim"),
      py::arg("coefficients"), py::arg("log_sums"), py::arg("factors"), py::arg("bf16"),
      py::arg("losses"), py::arg("dots"), py::arg("num_threads"),
      "As contrast_rows_float, on the product of bfloat16 queries and packed passages.");
  m.def(
      "multiply_bf16",
      [](std::uintptr_t rows, std::int64_t num_rows, std::int64_t dim, std::int64_t stride,
         std::int64_t step, std::uintptr_t packed, std::int64_t num_columns, std::uintptr_t out,
         bool add, int num_threads) {
        py::gil_scoped_release release;
        hybrid_fast::multiply_bf16({at<const std::uint16_t>(rows), num_rows, dim, stride, step},
                                   at<const std::uint16_t>(packed), num_columns, at<float>(out),
                                   add, num_threads);
      },
      py::kw_only(), py::arg("rows"), py::arg("num_rows"), py::arg("dim"), py::arg("stride"),
      py::arg("step"), py::arg("packed"), py::arg("num_columns"), py::arg("out"), py::arg("add"),
      py::arg("num_threads"),
      "Write, or add, the float product of bfloat16 rows, `stride` apart, their coordinates "
      "`step`, and packed columns; arguments are addresses.");
  m.def("contrast_instructions", &hybrid_fast::contrast_instructions,
        "The instruction set of the contrastive kernels: avx512, avx2 or portable.");

  py::class_<NotedIndex>(m, "PlanIndex", "The language-pair index of a table, with a note.")
      .def_static("build", &build_index, py::kw_only(), py::arg("groups").noconvert(),
                  py::arg("languages").noconvert(), py::arg("passages").noconvert(),
                  py::arg("uses").noconvert(), py::arg("sources").noconvert(),
                  py::arg("num_languages"), py::arg("num_sources"), py::arg("note") = "",
                  py::arg("progress") = py::none(),
                  "Index the columns of a table; progress(done, total) is called between stages.")
      .def_static(
          "open",
          [](const std::string& path) {
            return with_file(path, [&] { return hybrid_fast::open_index(path); });
          },
          py::arg("path"), "Map a saved index; ValueError if it is damaged.")
      .def(
          "save",
          [](const NotedIndex& noted, const std::string& path) {
            with_file(path, [&] { hybrid_fast::save_index(*noted.index, noted.note, path); });
          },
          py::arg("path"))
      .def_readonly("note", &NotedIndex::note)
      .def_property_readonly("num_rows",
                             [](const NotedIndex& n) { return n.index->summary().table_size; })
      .def_property_readonly("num_bytes", [](const NotedIndex& n) { return n.index->num_bytes(); })
      .def_property_readonly(
          "mixes_sources", [](const NotedIndex& n) { return n.index->mixes_sources(); },
          "Whether the rows of some group are of several sources.")
      .def(py::pickle(&index_bytes, [](const py::bytes& bytes) {
        return hybrid_fast::read_index(std::string_view(bytes));
      }));

  using hybrid_fast::Planner;
  py::class_<Planner>(m, "Planner", "The batch plan: a pure function of (index, options, step).")
      .def(py::init(&make_planner), py::arg("index"), py::kw_only(), py::arg("batch_size"),
           py::arg("kind"), py::arg("alpha"), py::arg("exponent"), py::arg("language_weights"),
           py::arg("pair_weights"), py::arg("source_weights"), py::arg("single_pair"),
           py::arg("seed"), py::arg("world_size"))
      .def("plan", &plan, py::arg("step"), py::arg("begin"), py::arg("end"),
           "Rows of slots [begin, end) of a step: (query_rows, passage_rows, kind, entries "
           "substituted, lanes substituted).")
      .def_property_readonly("last_step", &Planner::last_step)
      .def_property_readonly("mono_shares", &Planner::mono_shares)
      .def_property_readonly("lane_shares", &Planner::lane_shares);
}
