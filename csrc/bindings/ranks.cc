#include <cstdint>
#include <utility>

#include "bindings/bindings.h"
#include "bindings/call_arrays.h"
#include "core/exact_search.h"
#include "core/rank_counting.h"
#include "core/row_ranking.h"

namespace hybrid_fast::bindings {
namespace {

std::pair<Array<std::int64_t>, Array<std::int64_t>> count_ranks(const py::object& scores,
                                                                const py::object& block_starts,
                                                                const py::object& offsets,
                                                                const py::object& columns,
                                                                int num_threads) {
  const auto score_array = checked<float>(scores, "scores", 2);
  const auto starts = checked<std::int64_t>(block_starts, "block_starts", 1);
  const auto bounds = checked<std::int64_t>(offsets, "offsets", 1);
  const auto asked = checked<std::int64_t>(columns, "columns", 1);
  require_shape(bounds, "offsets", {score_array.shape(0) + 1},
                "one entry more than scores has rows");
  Array<std::int64_t> block_ranks(asked.size()), row_ranks(asked.size());
  const RankQuestion question{view(score_array), score_array.shape(1), view(starts), view(bounds),
                              view(asked)};
  const std::span<std::int64_t> block_span = view(block_ranks), row_span = view(row_ranks);
  without_gil([&] { return "ranks in scores of " + describe(score_array); },
              [&] { hybrid_fast::count_ranks(question, num_threads, block_span, row_span); });
  return {block_ranks, row_ranks};
}

RankingQuestion ranking_question(const Array<float>& scores, std::int64_t num_first) {
  if (num_first < 0 || num_first > scores.shape(1)) {
    throw py::value_error("num_first is " + std::to_string(num_first) + "; the rows have " +
                          std::to_string(scores.shape(1)) + " columns");
  }
  return {view(scores), scores.shape(0), scores.shape(1), num_first};
}

// What the memory is for that threads take.
auto ranking_of(const Array<float>& scores, int num_threads) {
  return [&scores, num_threads] {
    return "a ranking of scores of " + describe(scores) + " on " + std::to_string(num_threads) +
           " threads";
  };
}

std::pair<Array<float>, Array<std::int64_t>> rank_rows(const py::object& scores,
                                                       std::int64_t num_first, int num_threads) {
  const auto array = checked<float>(scores, "scores", 2);
  const RankingQuestion question = ranking_question(array, num_first);
  Array<float> ranks({array.shape(0), array.shape(1)});
  Array<std::int64_t> first({array.shape(0), static_cast<py::ssize_t>(num_first)});
  const std::span<float> rank_span = view(ranks);
  const std::span<std::int64_t> first_span = view(first);
  without_gil(ranking_of(array, num_threads),
              [&] { hybrid_fast::rank_rows(question, num_threads, rank_span, first_span); });
  return {ranks, first};
}

Array<std::int64_t> find_first(const py::object& scores, std::int64_t num_first, int num_threads) {
  const auto array = checked<float>(scores, "scores", 2);
  const RankingQuestion question = ranking_question(array, num_first);
  Array<std::int64_t> first({array.shape(0), static_cast<py::ssize_t>(num_first)});
  const std::span<std::int64_t> first_span = view(first);
  without_gil(ranking_of(array, num_threads),
              [&] { hybrid_fast::find_first(question, num_threads, first_span); });
  return first;
}

std::pair<Array<float>, Array<std::int64_t>> search(const py::object& queries,
                                                    const py::object& candidates, std::int64_t k,
                                                    int num_threads) {
  const py::array query_array = checked_matrix<float>(queries, "queries");
  const py::array candidate_array = checked_matrix<float>(candidates, "candidates");
  const FloatMatrix rows = float_matrix(matrix_of<float>(query_array));
  const FloatMatrix columns = float_matrix(matrix_of<float>(candidate_array));
  if (rows.num_columns != columns.num_columns) {
    throw py::value_error("queries have " + std::to_string(rows.num_columns) +
                          " columns and candidates " + std::to_string(columns.num_columns) +
                          "; they must be as many");
  }
  if (k < 0 || k > columns.num_rows) {
    throw py::value_error("k is " + std::to_string(k) + "; there are " +
                          std::to_string(columns.num_rows) + " candidates");
  }
  Array<float> scores({rows.num_rows, k});
  Array<std::int64_t> hits({rows.num_rows, k});
  const std::span<float> score_span = view(scores);
  const std::span<std::int64_t> hit_span = view(hits);
  without_gil(
      [&] {
        return std::to_string(k) + " hits of " + std::to_string(rows.num_rows) + " queries each";
      },
      [&] {
        hybrid_fast::search(rows, columns, k, score_span.data(), hit_span.data(), num_threads);
      });
  return {scores, hits};
}

}  // namespace

void bind_ranks(py::module_& m) {
  m.def("count_ranks", &count_ranks, py::arg("scores"), py::arg("block_starts"), py::arg("offsets"),
        py::arg("columns"), py::arg("num_threads") = 1,
        "Return the ranks of chosen columns within their block and within their row of scores.\n\n"
        "Row r asks for columns[offsets[r]:offsets[r + 1]]; block b holds the columns\n"
        "block_starts[b]:block_starts[b + 1]. Ranks start at 1, highest score first, equal scores\n"
        "in the order of columns. Scores: float32, C-contiguous, no NaN; the rest int64.");

  m.def("rank_rows", &rank_rows, py::arg("scores"), py::arg("num_first"),
        py::arg("num_threads") = 1,
        "Return the rank of every score in its row, and the best columns of each row.\n\n"
        "Ranks start at 1, highest score first, equal scores at the mean of the ranks they take:\n"
        "float32 (rows, columns). Best columns: int64 (rows, num_first), equal scores in the\n"
        "order of columns. Scores: float32, C-contiguous, no NaN.");

  m.def("find_first", &find_first, py::arg("scores"), py::arg("num_first"),
        py::arg("num_threads") = 1,
        "Return the best columns of each row, int64 (rows, num_first), as rank_rows does.");

  m.def("search", &search, py::arg("queries"), py::arg("candidates"), py::arg("k"), py::kw_only(),
        py::arg("num_threads"),
        "Return the k highest inner products of each query and the rows of their candidates.\n\n"
        "Float32 and int64 (num_queries, k), highest first, of equal ones the lower row first.\n"
        "Queries and candidates: float32 (n, D), in any layout; no product may be NaN. A product\n"
        "is the same whatever else is searched, on any number of threads.");
}

}  // namespace hybrid_fast::bindings
