// The activation GELU, exact: x Phi(x), where Phi is the distribution of a standard normal.
#pragma once

#include <cstdint>

namespace hybrid_fast {

// T is float, or std::uint16_t for bfloat16. An entry is off by at most 2.6e-7 |x|, before it is
// rounded to T, about as much as by a library's erf. Entries are shared out over num_threads
// threads. `out` may be `x`.
// Throws std::invalid_argument if HYBRID_FAST_CPU names no instructions of this processor.
template <typename T>
void gelu(const T* x, T* out, std::int64_t size, int num_threads);

}  // namespace hybrid_fast
