// The GELU of each instruction set.
#pragma once

#include <cstdint>

#include "core/gelu.h"

namespace hybrid_fast {

struct GeluKernels {
  void (*of_float)(const float* x, float* out, std::int64_t size);
  void (*of_bf16)(const std::uint16_t* x, std::uint16_t* out, std::int64_t size);
};

extern const GeluKernels kGelu_portable;
#if defined(__x86_64__)
extern const GeluKernels kGelu_avx2, kGelu_avx512;
#endif

}  // namespace hybrid_fast
