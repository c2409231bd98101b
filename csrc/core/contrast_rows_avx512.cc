#define HYBRID_FAST_ISA avx512
#define HYBRID_FAST_VECTOR_BYTES 64
#include "core/bf16_product_impl.h"
#include "core/contrast_rows_impl.h"

namespace hybrid_fast {

const ContrastKernels<float> kContrast_avx512 = {
    &avx512::contrast_row<float>, &avx512::prepare_column_row<float>, &avx512::sum_columns<float>};

const ProductKernels kProduct_avx512 = {&avx512::multiply_rows<1>, &avx512::multiply_rows<4>, 4};

}  // namespace hybrid_fast
