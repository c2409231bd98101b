#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "core/index_file.h"
#include "core/plan_index.h"
#include "core/planner.h"

namespace hybrid_fast::bindings {
namespace {

// Between the stages of building, with the GIL; an exception it raises ends the building.
PlanIndex::Progress progress_of(const py::object& callback) {
  if (callback.is_none()) return {};
  return [&callback](int done, int total) {
    py::gil_scoped_acquire acquire;
    callback(done, total);
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  };
}

NotedIndex build_index(const py::object& groups, const py::object& languages,
                       const py::object& queries, const py::object& passages,
                       const py::object& uses, const py::object& sources,
                       std::int32_t num_languages, std::int32_t num_sources, std::string note,
                       const py::object& progress) {
  const auto group_array = checked<std::int64_t>(groups, "groups", 1);
  const auto language_array = checked<std::int32_t>(languages, "languages", 1);
  const auto query_array = checked<std::int64_t>(queries, "queries", 1);
  const auto passage_array = checked<std::int64_t>(passages, "passages", 1);
  const auto use_array = checked<std::uint8_t>(uses, "uses", 1);
  const auto source_array = checked<std::int32_t>(sources, "sources", 1);
  const Columns columns{view(group_array),   view(language_array), view(query_array),
                        view(passage_array), view(use_array),      view(source_array),
                        num_languages,       num_sources};
  const PlanIndex::Progress report = progress_of(progress);
  return without_gil(
      [&] { return "the index of a table of " + std::to_string(columns.size()) + " rows"; },
      [&]() -> NotedIndex {
        return {std::make_shared<PlanIndex>(PlanIndex::build(columns, report)), std::move(note)};
      });
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
  write_index(*noted.index, noted.note, [&](std::span<const std::byte> part) {
    bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
  });
  return bytes;
}

std::unique_ptr<Planner> make_planner(const NotedIndex& noted, std::int64_t batch_size, int kind,
                                      double alpha, double exponent,
                                      std::vector<double> language_weights,
                                      std::vector<double> pair_weights,
                                      std::vector<double> source_weights, bool single_pair,
                                      std::uint64_t seed, std::int64_t world_size) {
  const PlanOptions options{batch_size,
                            static_cast<Kind>(kind),
                            alpha,
                            exponent,
                            std::move(language_weights),
                            std::move(pair_weights),
                            std::move(source_weights),
                            single_pair,
                            seed,
                            world_size};
  return without_gil(
      [&] { return "a plan of " + std::to_string(noted.index->summary().table_size) + " rows"; },
      [&] { return std::make_unique<Planner>(noted.index, options); });
}

// A batch: query rows, passage rows, kind, entries and streams substituted.
using PlannedBatch =
    std::tuple<Array<std::int64_t>, Array<std::int64_t>, int, std::int32_t, std::int32_t>;

// Plans the whole global batch of a step and returns its slots [begin, end).
PlannedBatch plan(const Planner& planner, std::int64_t step, std::int64_t begin, std::int64_t end) {
  const std::int64_t batch_size = planner.batch_size();
  if (begin < 0 || begin > end || end > batch_size) {
    throw std::invalid_argument("slots [" + std::to_string(begin) + ", " + std::to_string(end) +
                                ") lie outside a batch of " + std::to_string(batch_size));
  }
  Array<std::int64_t> query_rows(end - begin), passage_rows(end - begin);
  std::int64_t* queries = query_rows.mutable_data();
  std::int64_t* passages = passage_rows.mutable_data();
  BatchInfo info;
  without_gil([&] { return "a batch of " + std::to_string(batch_size); },
              [&] {
                if (end - begin == batch_size) {
                  info = planner.plan(step, queries, passages);
                } else {
                  std::vector<std::int64_t> all(2 * batch_size);
                  info = planner.plan(step, all.data(), all.data() + batch_size);
                  std::copy(all.data() + begin, all.data() + end, queries);
                  std::copy(all.data() + batch_size + begin, all.data() + batch_size + end,
                            passages);
                }
              });
  return {query_rows, passage_rows, static_cast<int>(info.kind), info.substituted_entries,
          info.substituted_streams};
}

void define_index(py::module_& m) {
  py::class_<NotedIndex>(m, "PlanIndex", "The language-pair index of a table, with a note.")
      .def_static(
          "build", &build_index, py::kw_only(), py::arg("groups"), py::arg("languages"),
          py::arg("queries"), py::arg("passages"), py::arg("uses"), py::arg("sources"),
          py::arg("num_languages"), py::arg("num_sources"), py::arg("note") = "",
          py::arg("progress") = py::none(),
          "Index the columns of a table; progress(done, total) is called between stages.\n\n"
          "groups, queries and passages: int64; languages and sources: int32; uses: uint8.")
      .def_static(
          "open",
          [](const std::string& path) { return with_file(path, [&] { return open_index(path); }); },
          py::arg("path"), "Map a saved index; ValueError if it is damaged.")
      .def(
          "save",
          [](const NotedIndex& noted, const std::string& path) {
            with_file(path, [&] { save_index(*noted.index, noted.note, path); });
          },
          py::arg("path"), "Write the index to a file, which `open` maps; OSError if it cannot.")
      .def_readonly("note", &NotedIndex::note)
      .def_property_readonly("num_rows",
                             [](const NotedIndex& n) { return n.index->summary().table_size; })
      .def_property_readonly(
          "num_queries", [](const NotedIndex& n) { return n.index->summary().num_queries; },
          "Number of different queries; 0 if the index was built without their ids.")
      .def_property_readonly(
          "num_passages", [](const NotedIndex& n) { return n.index->summary().num_passages; },
          "Number of different passages.")
      .def_property_readonly("num_bytes", [](const NotedIndex& n) { return n.index->num_bytes(); })
      .def_property_readonly(
          "mixes_sources", [](const NotedIndex& n) { return n.index->mixes_sources(); },
          "Whether the rows of some group are of several sources.")
      .def(py::pickle(&index_bytes,
                      [](const py::bytes& bytes) { return read_index(std::string_view(bytes)); }));
}

void define_planner(py::module_& m) {
  py::class_<Share>(m, "Share", "The share that sampling weights ask for and the one in effect.")
      .def_readonly("query_language", &Share::query_language)
      .def_readonly("passage_language", &Share::passage_language)
      .def_readonly("source", &Share::source)
      .def_readonly("size", &Share::size)
      .def_readonly("capacity", &Share::capacity)
      .def_readonly("asked", &Share::asked)
      .def_readonly("effective", &Share::effective);

  py::class_<Planner>(m, "Planner", "The batch plan: a pure function of (index, options, step).")
      .def(py::init(&make_planner), py::arg("index"), py::kw_only(), py::arg("batch_size"),
           py::arg("kind"), py::arg("alpha"), py::arg("exponent"), py::arg("language_weights"),
           py::arg("pair_weights"), py::arg("source_weights"), py::arg("single_pair"),
           py::arg("seed"), py::arg("world_size"))
      .def("plan", &plan, py::arg("step"), py::arg("begin"), py::arg("end"),
           "Return rows of slots [begin, end) of a step: (query_rows, passage_rows, kind,\n"
           "substituted_entries, substituted_streams).")
      .def_property_readonly("last_step", &Planner::last_step)
      .def_property_readonly("mono_shares", &Planner::mono_shares)
      .def_property_readonly("pair_shares", &Planner::pair_shares);
}

}  // namespace

void bind_plan(py::module_& m) {
  define_index(m);
  define_planner(m);
}

}  // namespace hybrid_fast::bindings
