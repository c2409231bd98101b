#define HYBRID_FAST_ISA portable
#define HYBRID_FAST_VECTOR_BYTES 16
#include "core/float_product_impl.h"

namespace hybrid_fast {

const FloatProductKernels kFloatProduct_portable = portable::kFloatProduct;

}  // namespace hybrid_fast
