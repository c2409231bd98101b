// The kernels of dropout.h, once for each instruction set; see vectors.h.
#include <cstdint>

#include "core/dropout_masks.h"
#include "core/dropout_table.h"
#include "core/vectors.h"

namespace hybrid_fast::HYBRID_FAST_ISA {

inline Floats floats_at(const float* x) { return load<Floats>(x); }
inline Floats floats_at(const std::uint16_t* x) { return from_bf16(load<Halves>(x)); }
inline void put(float* out, Floats x) { store(out, x); }
inline void put(std::uint16_t* out, Floats x) { store(out, to_bf16(x)); }

template <typename T>
void drop(const T* x, T* out, std::int64_t first, std::int64_t count, const DropoutMask& mask) {
  for (std::int64_t begin = first; begin < first + count; begin += kDropoutBlock) {
    const auto block = static_cast<std::uint64_t>(begin / kDropoutBlock);
    const KeptBlock kept(mask, static_cast<std::uint32_t>(block % (1u << 28)),
                         static_cast<std::uint32_t>(block >> 28), 0);
    const std::int64_t left = first + count - begin;
    if (left >= kDropoutBlock) {
      for (int j = 0; j < kDropoutBlock; j += kLanes) {
        put(out + begin + j, kept.kept(j, floats_at(x + begin + j) * mask.factor));
      }
      continue;
    }
    T last[kDropoutBlock] = {};
    __builtin_memcpy(last, x + begin, static_cast<std::size_t>(left) * sizeof(T));
    for (int j = 0; j < kDropoutBlock; j += kLanes) {
      put(last + j, kept.kept(j, floats_at(last + j) * mask.factor));
    }
    __builtin_memcpy(out + begin, last, static_cast<std::size_t>(left) * sizeof(T));
  }
}

}  // namespace hybrid_fast::HYBRID_FAST_ISA
