// The only file that sees pybind11: checks shapes, releases the GIL, hands arrays to the core.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/planner.h"
#include "core/rank_counting.h"

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

std::unique_ptr<hybrid_fast::Planner> make_planner(
    const Array<std::int64_t>& groups, const Array<std::int32_t>& languages,
    const Array<std::int64_t>& passages, const Array<std::uint8_t>& uses,
    const Array<std::int32_t>& sources, std::int32_t num_languages, std::int32_t num_sources,
    std::int64_t batch_size, int kind, double alpha, double exponent,
    std::vector<double> language_weights, std::vector<double> pair_weights,
    std::vector<double> source_weights, bool single_pair, std::uint64_t seed,
    std::int64_t world_size) {
  const hybrid_fast::Columns columns{view(groups),  view(languages), view(passages), view(uses),
                                     view(sources), num_languages,   num_sources};
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
  return std::make_unique<hybrid_fast::Planner>(columns, options);
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "C++ core of hybrid_fast: batch planning and rank counting.";

  m.def("count_ranks", &count_ranks, py::arg("scores").noconvert(),
        py::arg("block_starts").noconvert(), py::arg("offsets").noconvert(),
        py::arg("columns").noconvert(), py::arg("num_threads") = 1,
        "Return the ranks of chosen columns within their block and within their row of scores.\n\n"
        "Row r asks for columns[offsets[r]:offsets[r + 1]]; block b holds the columns\n"
        "block_starts[b]:block_starts[b + 1]. Ranks start at 1, highest score first, equal scores\n"
        "in the order of columns. Scores: float32, C-contiguous, no NaN; the rest int64.");

  using hybrid_fast::Share;
  py::class_<Share>(m, "Share", "What a law asked for and what it became.")
      .def_readonly("query_language", &Share::query_language)
      .def_readonly("passage_language", &Share::passage_language)
      .def_readonly("source", &Share::source)
      .def_readonly("size", &Share::size)
      .def_readonly("capacity", &Share::capacity)
      .def_readonly("asked", &Share::asked)
      .def_readonly("effective", &Share::effective);

  using hybrid_fast::Planner;
  py::class_<Planner>(m, "Planner", "The batch plan: a pure function of (table, options, step).")
      .def(py::init(&make_planner), py::kw_only(), py::arg("groups").noconvert(),
           py::arg("languages").noconvert(), py::arg("passages").noconvert(),
           py::arg("uses").noconvert(), py::arg("sources").noconvert(), py::arg("num_languages"),
           py::arg("num_sources"), py::arg("batch_size"), py::arg("kind"), py::arg("alpha"),
           py::arg("exponent"), py::arg("language_weights"), py::arg("pair_weights"),
           py::arg("source_weights"), py::arg("single_pair"), py::arg("seed"),
           py::arg("world_size"))
      .def("plan", &plan, py::arg("step"), py::arg("begin"), py::arg("end"),
           "Rows of slots [begin, end) of a step: (query_rows, passage_rows, kind, entries "
           "substituted, lanes substituted).")
      .def_property_readonly("last_step", &Planner::last_step)
      .def_property_readonly("mono_shares", &Planner::mono_shares)
      .def_property_readonly("lane_shares", &Planner::lane_shares);
}
