#define HYBRID_FAST_ISA avx512
#define HYBRID_FAST_VECTOR_BYTES 64
#include "core/contrast_rows_impl.h"

namespace hybrid_fast {

const ContrastKernels<float> kContrast_avx512 = {
    &avx512::contrast_row<float>, &avx512::prepare_column_row<float>, &avx512::sum_columns<float>};

}  // namespace hybrid_fast
