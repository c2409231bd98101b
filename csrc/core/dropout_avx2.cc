#define HYBRID_FAST_ISA avx2
#define HYBRID_FAST_VECTOR_BYTES 32
#include "core/dropout_impl.h"

namespace hybrid_fast {

const DropoutKernels kDropout_avx2 = {&avx2::drop<float>, &avx2::drop<std::uint16_t>};

}  // namespace hybrid_fast
