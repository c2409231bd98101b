#define HYBRID_FAST_ISA avx2
#define HYBRID_FAST_VECTOR_BYTES 32
#include "core/float_product_impl.h"

namespace hybrid_fast {

const FloatProductKernels kFloatProduct_avx2 = avx2::kFloatProduct;

}  // namespace hybrid_fast
