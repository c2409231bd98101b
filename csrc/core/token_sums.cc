#include "core/token_sums.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/team.h"

namespace hybrid_fast {
namespace {

// Small, since a frequent token has as many uses as a thousand others.
constexpr std::int64_t kTokensOfPiece = 32;

void require_ascending(std::span<const std::int64_t> offsets, std::int64_t num_ids) {
  const bool ascends = std::is_sorted(offsets.begin(), offsets.end());
  const bool starts = offsets.empty() ? num_ids == 0 : offsets[0] == 0 && offsets.back() <= num_ids;
  if (!ascends || !starts) {
    throw std::invalid_argument("texts must begin at 0 and after one another within the " +
                                std::to_string(num_ids) + " ids");
  }
}

}  // namespace

TokenUses find_uses(std::span<const std::int64_t> ids, std::span<const std::int64_t> offsets,
                    std::int64_t vocab_size) {
  const auto num_ids = static_cast<std::int64_t>(ids.size());
  if (vocab_size < 0) {
    throw std::invalid_argument("vocab_size is " + std::to_string(vocab_size) +
                                "; at least 0 is needed");
  }
  if (offsets.size() > std::numeric_limits<std::int32_t>::max()) {
    throw std::invalid_argument("there are " + std::to_string(offsets.size()) +
                                " texts; fewer than 2^31 are supported");
  }
  require_ascending(offsets, num_ids);
  std::vector<std::int64_t> next(vocab_size);  // counts, then the place of the next use
  for (const std::int64_t id : ids) {
    if (id < 0 || id >= vocab_size) {
      throw std::invalid_argument("there is no token " + std::to_string(id) + " among " +
                                  std::to_string(vocab_size));
    }
    ++next[id];
  }
  TokenUses uses;
  std::int64_t size = 0;
  for (std::int64_t token = 0; token < vocab_size; ++token) {
    if (next[token] == 0) continue;
    uses.tokens.push_back(token);
    uses.starts.push_back(size);
    size += std::exchange(next[token], size);
  }
  uses.starts.push_back(size);
  uses.texts.resize(size);
  for (std::size_t text = 0; text < offsets.size(); ++text) {
    const std::int64_t end = text + 1 < offsets.size() ? offsets[text + 1] : num_ids;
    for (std::int64_t i = offsets[text]; i < end; ++i) {
      uses.texts[next[ids[i]]++] = static_cast<std::int32_t>(text);
    }
  }
  return uses;
}

template <typename T>
void sum_by_token(const TokenUses& uses, std::span<const std::int64_t> lengths, const T* gradient,
                  std::int64_t dim, T* sums, int num_threads) {
  const auto num_tokens = static_cast<std::int64_t>(uses.tokens.size());
  const std::int64_t work = static_cast<std::int64_t>(uses.texts.size()) * dim / 4;
  const auto pieces = static_cast<std::size_t>((num_tokens + kTokensOfPiece - 1) / kTokensOfPiece);
  parallel_for_in_team(pieces, work, num_threads, [&](std::size_t piece) {
    const std::int64_t first = static_cast<std::int64_t>(piece) * kTokensOfPiece;
    for (std::int64_t u = first; u < std::min(first + kTokensOfPiece, num_tokens); ++u) {
      T* __restrict sum = sums + u * dim;
      std::fill(sum, sum + dim, T{0});
      for (std::int64_t use = uses.starts[u]; use < uses.starts[u + 1]; ++use) {
        const std::int64_t text = uses.texts[use];
        const T* __restrict row = gradient + text * dim;
        const T share = T{1} / static_cast<T>(lengths[text]);
        for (std::int64_t d = 0; d < dim; ++d) sum[d] += row[d] * share;
      }
    }
  });
}

template void sum_by_token(const TokenUses&, std::span<const std::int64_t>, const float*,
                           std::int64_t, float*, int);
template void sum_by_token(const TokenUses&, std::span<const std::int64_t>, const double*,
                           std::int64_t, double*, int);

}  // namespace hybrid_fast
