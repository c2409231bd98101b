// The order in which a lane (all examples of one language or pair) is drawn, pass after pass.
#pragma once

#include <cstdint>

#include "core/random.h"

namespace hybrid_fast {

// The order of one pass over [0, size). Every pass is a permutation, and any `window` consecutive
// positions of the endless stream hold no entry twice, also where one pass ends and the next
// begins: a pass visits the even entries before the odd ones, so the end of a pass and the start of
// the next never meet. Lanes shorter than two windows keep one seeded order in every pass.
class PassOrder {
 public:
  // REQUIRES: size >= 1
  PassOrder(std::uint64_t size, std::uint64_t window, std::uint64_t key, std::uint64_t pass)
      : PassOrder(size, size >= 2 * window, derive(key, size >= 2 * window ? pass : 0)) {}

  // The entry at position `i` of the pass. REQUIRES: i < size
  std::uint64_t operator()(std::uint64_t i) const {
    if (!halved_) return first_(i);
    return i < num_first_ ? 2 * first_(i) : 2 * second_(i - num_first_) + 1;
  }

 private:
  PassOrder(std::uint64_t size, bool halved, std::uint64_t pass_key)
      : halved_(halved),
        num_first_(halved ? (size + 1) / 2 : size),
        first_(num_first_, pass_key),
        second_(halved ? size / 2 : 1, ~pass_key) {}

  bool halved_;
  std::uint64_t num_first_;  // even entries
  Permutation first_, second_;
};

}  // namespace hybrid_fast
