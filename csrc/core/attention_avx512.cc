#define HYBRID_FAST_ISA avx512
#define HYBRID_FAST_VECTOR_BYTES 64
#include "core/attention_impl.h"

namespace hybrid_fast {

const AttentionKernels kAttention_avx512 = {
    {&avx512::attend<float>, &avx512::attend_backward<float>},
    {&avx512::attend<std::uint16_t>, &avx512::attend_backward<std::uint16_t>},
    &avx512::scratch_size};

}  // namespace hybrid_fast
