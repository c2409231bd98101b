#define HYBRID_FAST_ISA avx512
#define HYBRID_FAST_VECTOR_BYTES 64
#include "core/gelu_impl.h"

namespace hybrid_fast {

const GeluKernels kGelu_avx512 = {&avx512::gelu<float>, &avx512::gelu<std::uint16_t>};

}  // namespace hybrid_fast
