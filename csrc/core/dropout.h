// Dropout whose masks are a pure function of a seed and a place, so that nothing but the seed is
// kept for the backward pass.
#pragma once

#include <cstdint>

namespace hybrid_fast {

// Each number is dropped with probability `rate`, to the nearest 1 / 65,536, and kept ones are
// multiplied by 1 / (1 - rate). Masks are the same on all processors and of all seeds independent.
struct DropoutLaw {
  double rate;  // 0 to 1
  std::uint64_t seed;
};

// out[i] = x[i] / (1 - rate), or 0 where it is dropped, for `size` numbers; `out` may be `x`. T is
// float, or std::uint16_t for bfloat16, which is rounded once. Shared out over num_threads threads.
// Throws std::invalid_argument if the rate is not from 0 to 1, num_threads is below 1, or
// HYBRID_FAST_CPU names no instructions of this processor.
template <typename T>
void drop(const T* x, T* out, std::int64_t size, DropoutLaw law, int num_threads);

}  // namespace hybrid_fast
