#include <cstdint>
#include <utility>

#include "bindings/bindings.h"
#include "core/rank_counting.h"
#include "core/row_ranking.h"

namespace hybrid_fast::bindings {
namespace {

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
  const RankQuestion question{view(scores), scores.shape(1), view(block_starts), view(offsets),
                              view(columns)};
  const std::span<std::int64_t> block_span = view(block_ranks), row_span = view(row_ranks);
  {
    py::gil_scoped_release release;
    hybrid_fast::count_ranks(question, num_threads, block_span, row_span);
  }
  return {block_ranks, row_ranks};
}

RankingQuestion ranking_question(const Array<float>& scores, std::int64_t num_first) {
  require_dimensions(scores, "scores", 2);
  if (num_first < 0 || num_first > scores.shape(1)) {
    throw std::invalid_argument("num_first is " + std::to_string(num_first) + "; the rows have " +
                                std::to_string(scores.shape(1)) + " columns");
  }
  return {view(scores), scores.shape(0), scores.shape(1), num_first};
}

std::pair<Array<float>, Array<std::int64_t>> rank_rows(const Array<float>& scores,
                                                       std::int64_t num_first, int num_threads) {
  const RankingQuestion question = ranking_question(scores, num_first);
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
  const RankingQuestion question = ranking_question(scores, num_first);
  Array<std::int64_t> first({scores.shape(0), static_cast<py::ssize_t>(num_first)});
  const std::span<std::int64_t> first_span = view(first);
  {
    py::gil_scoped_release release;
    hybrid_fast::find_first(question, num_threads, first_span);
  }
  return first;
}

}  // namespace

void bind_ranks(py::module_& m) {
  m.def("count_ranks", &count_ranks, py::arg("scores").noconvert(),
        py::arg("block_starts").noconvert(), py::arg("offsets").noconvert(),
        py::arg("columns").noconvert(), py::arg("num_threads") = 1,
        "Return the ranks of chosen columns within their block and within their row of scores.\n\n"
        "Row r asks for columns[offsets[r]:offsets[r + 1]]; block b holds the columns\n"
        "block_starts[b]:block_starts[b + 1]. Ranks start at 1, highest score first, equal scores\n"
        "in the order of columns. Scores: float32, C-contiguous, no NaN; the rest int64.");

  m.def("rank_rows", &rank_rows, py::arg("scores").noconvert(), py::arg("num_first"),
        py::arg("num_threads") = 1,
        "Return the rank of every score in its row, and the best columns of each row.\n\n"
        "Ranks start at 1, highest score first, equal scores at the mean of the ranks they take:\n"
        "float32 (rows, columns). Best columns: int64 (rows, num_first), equal scores in the\n"
        "order of columns. Scores: float32, C-contiguous, no NaN.");

  m.def("find_first", &find_first, py::arg("scores").noconvert(), py::arg("num_first"),
        py::arg("num_threads") = 1,
        "Return the best columns of each row, int64 (rows, num_first), as rank_rows does.");
}

}  // namespace hybrid_fast::bindings
