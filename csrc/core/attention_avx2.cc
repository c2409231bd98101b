#define HYBRID_FAST_ISA avx2
#define HYBRID_FAST_VECTOR_BYTES 32
#include "core/attention_impl.h"

namespace hybrid_fast {

const AttentionKernels kAttention_avx2 = {
    {&avx2::attend<float>, &avx2::attend_backward<float>},
    {&avx2::attend<std::uint16_t>, &avx2::attend_backward<std::uint16_t>},
    &avx2::scratch_size};

}  // namespace hybrid_fast
