#define HYBRID_FAST_ISA avx512
#define HYBRID_FAST_VECTOR_BYTES 64
#include "core/float_product_impl.h"

namespace hybrid_fast {

const FloatProductKernels kFloatProduct_avx512 = avx512::kFloatProduct;

}  // namespace hybrid_fast
