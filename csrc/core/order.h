// The order in which a lane (all examples of one language or pair) is drawn, pass after pass.
#pragma once

#include <cstdint>

#include "core/random.h"

namespace hybrid_fast {

// The entry at `i` of pass `pass` over [0, size). Every pass is a permutation, and any `window`
// consecutive positions hold no entry twice, also where one pass ends and the next begins: a pass
// visits the even entries before the odd ones, so the end of a pass and the start of the next
// never meet. Lanes shorter than two windows keep one seeded order in every pass.
// REQUIRES: i < size
inline std::uint64_t entry_in_pass(std::uint64_t size, std::uint64_t window, std::uint64_t key,
                                   std::uint64_t pass, std::uint64_t i) {
  if (size < 2 * window) return Permutation(size, key)(i);
  const std::uint64_t pass_key = derive(key, pass);
  const std::uint64_t num_even = (size + 1) / 2;
  if (i < num_even) return 2 * Permutation(num_even, pass_key)(i);
  return 2 * Permutation(size - num_even, ~pass_key)(i - num_even) + 1;
}

}  // namespace hybrid_fast
