// Exact search against a full sort of plain products.
#include "core/exact_search.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "check.h"
#include "contrast_problem.h"
#include "instructions.h"

namespace hybrid_fast {
namespace {

using Floats = std::vector<float>;

struct Found {
  Floats scores;
  Ints rows;

  Found(const FloatMatrix& queries, const FloatMatrix& candidates, std::int64_t k, int num_threads)
      : scores(queries.num_rows * k), rows(scores.size()) {
    search(queries, candidates, k, scores.data(), rows.data(), num_threads);
  }
  bool operator==(const Found&) const = default;
};

FloatMatrix by_rows(const Floats& data, std::int64_t dim) {
  return {data.data(), static_cast<std::int64_t>(data.size()) / dim, dim, dim, 1};
}

// Whole numbers up to `levels`, whose products are exact: few of them make ties everywhere.
Floats whole_numbers(std::int64_t count, int levels) {
  Floats numbers(count);
  for (float& x : numbers) x = static_cast<float>(std::int64_t(uniform(-levels, levels)));
  return numbers;
}

void test_equals_a_full_sort(std::int64_t num_queries, std::int64_t num_candidates,
                             std::int64_t dim, int levels) {
  const Floats query_data = whole_numbers(num_queries * dim, levels);
  const Floats candidate_data = whole_numbers(num_candidates * dim, levels);
  const FloatMatrix queries = by_rows(query_data, dim), candidates = by_rows(candidate_data, dim);
  for (const std::int64_t k :
       {std::int64_t{1}, std::min<std::int64_t>(num_candidates, 7), num_candidates}) {
    const Found found(queries, candidates, k, 3);
    CHECK(found == Found(queries, candidates, k, 1));  // whatever the number of threads
    for (std::int64_t q = 0; q < num_queries; ++q) {
      Floats dots(num_candidates);
      for (std::int64_t c = 0; c < num_candidates; ++c) {
        for (std::int64_t d = 0; d < dim; ++d) {
          dots[c] += query_data[q * dim + d] * candidate_data[c * dim + d];
        }
      }
      Ints order(num_candidates);
      std::iota(order.begin(), order.end(), 0);
      std::ranges::stable_sort(order, std::greater{}, [&](std::int64_t c) { return dots[c]; });
      for (std::int64_t i = 0; i < k; ++i) {
        CHECK(found.rows[q * k + i] == order[i]);
        CHECK(found.scores[q * k + i] == dots[order[i]]);
      }
    }
  }
}

// Real numbers, whose products are rounded: the same bits whatever is searched beside them.
void test_score_depends_on_two_vectors_alone(std::int64_t dim) {
  const std::int64_t num_candidates = 2000;
  Floats query_data(9 * dim), candidate_data(num_candidates * dim);
  for (Floats* data : {&query_data, &candidate_data}) {
    for (float& x : *data) x = static_cast<float>(uniform(-1, 1));
  }
  const FloatMatrix candidates = by_rows(candidate_data, dim);
  const Found all(by_rows(query_data, dim), candidates, num_candidates, 3);
  for (const std::int64_t row : {0, 1, 383, 700, 1998, 1999}) {
    FloatMatrix one = candidates;
    one.data += row * dim;
    one.num_rows = 1;
    FloatMatrix query = by_rows(query_data, dim);
    query.num_rows = 1;
    const auto place = std::find(all.rows.begin(), all.rows.begin() + num_candidates, row);
    CHECK(Found(query, one, 1, 1).scores[0] == all.scores[place - all.rows.begin()]);
  }
}

void test_nothing() {
  const Floats data(12, 1);
  const FloatMatrix some = by_rows(data, 3);
  FloatMatrix none = some;
  none.num_rows = 0;
  CHECK(Found(none, some, 2, 1).rows.empty());
  CHECK(Found(some, none, 0, 1).rows.empty());
  FloatMatrix flat = some;
  flat.num_columns = 0;
  CHECK((Found(flat, flat, 2, 1).rows == Ints{0, 1, 0, 1, 0, 1, 0, 1}));
}

}  // namespace
}  // namespace hybrid_fast

int main() {
  using namespace hybrid_fast;
  if (asks_for_absent_instructions()) return kSkipped;
  for (const int levels : {1, 2, 50}) {
    test_equals_a_full_sort(1, 1, 3, levels);
    test_equals_a_full_sort(5, 33, 3, levels);
    test_equals_a_full_sort(3, 3100, 5, levels);  // several tiles
    test_equals_a_full_sort(1, 17000, 2, levels);
  }
  for (const std::int64_t dim : {1, 384, 385, 800}) test_score_depends_on_two_vectors_alone(dim);
  test_nothing();
}
