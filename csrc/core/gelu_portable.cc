#define HYBRID_FAST_ISA portable
#define HYBRID_FAST_VECTOR_BYTES 16
#include "core/gelu_impl.h"

namespace hybrid_fast {

const GeluKernels kGelu_portable = {&portable::gelu<float>, &portable::gelu<std::uint16_t>};

}  // namespace hybrid_fast
