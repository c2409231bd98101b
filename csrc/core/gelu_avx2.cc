#define HYBRID_FAST_ISA avx2
#define HYBRID_FAST_VECTOR_BYTES 32
#include "core/gelu_impl.h"

namespace hybrid_fast {

const GeluKernels kGelu_avx2 = {&avx2::gelu<float>, &avx2::gelu<std::uint16_t>};

}  // namespace hybrid_fast
