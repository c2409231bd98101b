#define HYBRID_FAST_ISA avx512
#define HYBRID_FAST_VECTOR_BYTES 64
#include "core/dropout_impl.h"

namespace hybrid_fast {

const DropoutKernels kDropout_avx512 = {&avx512::drop<float>, &avx512::drop<std::uint16_t>};

}  // namespace hybrid_fast
