// Exact search: the vectors with the highest inner products, of any number of them.
#pragma once

#include <cstdint>

#include "core/float_product.h"

namespace hybrid_fast {

// Writes of each query the k candidates with the highest inner products, highest first and of equal
// ones the lower row first: their products and rows, (queries.num_rows, k) both.
// A product depends on its two vectors and the instructions alone, not on what else is searched nor
// on num_threads; so equal vectors have equal scores.
// REQUIRES: vectors of one size lie in the rows; k <= candidates.num_rows; no product is NaN
void search(const FloatMatrix& queries, const FloatMatrix& candidates, std::int64_t k,
            float* best_scores, std::int64_t* best_rows, int num_threads);

}  // namespace hybrid_fast
