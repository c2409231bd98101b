#define HYBRID_FAST_ISA portable
#define HYBRID_FAST_VECTOR_BYTES 16
#include "core/dropout_impl.h"

namespace hybrid_fast {

const DropoutKernels kDropout_portable = {&portable::drop<float>, &portable::drop<std::uint16_t>};

}  // namespace hybrid_fast
