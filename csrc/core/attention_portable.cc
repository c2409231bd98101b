#define HYBRID_FAST_ISA portable
#define HYBRID_FAST_VECTOR_BYTES 16
#include "core/attention_impl.h"

namespace hybrid_fast {

const AttentionKernels kAttention_portable = {
    {&portable::attend<float>, &portable::attend_backward<float>},
    {&portable::attend<std::uint16_t>, &portable::attend_backward<std::uint16_t>},
    &portable::scratch_size};

}  // namespace hybrid_fast
