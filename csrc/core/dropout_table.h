// The dropout kernels of each instruction set, and what they are told.
#pragma once

#include <cstdint>

#include "core/dropout.h"

namespace hybrid_fast {

constexpr std::int64_t kDropoutBlock = 128;  // entries whose random numbers are drawn together

// A law of dropout as kernels take it.
struct DropoutMask {
  std::uint64_t seed;
  std::uint32_t threshold;  // of 65,536: random numbers below it drop
  std::uint32_t kind;       // what is dropped; masks of different kinds are independent
  float factor;             // of what is kept
};

constexpr std::uint32_t kDropsStates = 0, kDropsAttention = 1;

// Throws std::invalid_argument if the rate is not from 0 to 1.
DropoutMask mask_of(DropoutLaw law, std::uint32_t kind);

struct DropoutKernels {
  // Entries [first, first + count) of the arrays; `first` is a multiple of kDropoutBlock.
  void (*drop)(const float* x, float* out, std::int64_t first, std::int64_t count,
               const DropoutMask& mask);
  void (*drop_bf16)(const std::uint16_t* x, std::uint16_t* out, std::int64_t first,
                    std::int64_t count, const DropoutMask& mask);
};

extern const DropoutKernels kDropout_portable;
#if defined(__x86_64__)
extern const DropoutKernels kDropout_avx2, kDropout_avx512;
#endif

}  // namespace hybrid_fast
