// The gradient of token embeddings of which texts are means.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hybrid_fast {

// Where each token of a batch occurs: token tokens[u], ascending, in texts[starts[u]:starts[u +
// 1]], in the order of the texts and as often as it occurs there.
struct TokenUses {
  std::vector<std::int64_t> tokens;
  std::vector<std::int64_t> starts;
  std::vector<std::int32_t> texts;
};

// Text i is ids[offsets[i]:offsets[i + 1]], the last one up to the end.
// Throws std::invalid_argument for an id outside [0, vocab_size), or when offsets do not ascend
// from 0 within the ids.
TokenUses find_uses(std::span<const std::int64_t> ids, std::span<const std::int64_t> offsets,
                    std::int64_t vocab_size);

// sums (tokens, dim): of each token the sum of `gradient` (texts, dim) / length over its uses,
// always in their order: bitwise identical for any number of threads.
template <typename T>
void sum_by_token(const TokenUses& uses, std::span<const std::int64_t> lengths, const T* gradient,
                  std::int64_t dim, T* sums, int num_threads);

}  // namespace hybrid_fast
