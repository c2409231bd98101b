#define HYBRID_FAST_ISA avx2
#define HYBRID_FAST_VECTOR_BYTES 32
#include "core/contrast_rows_impl.h"

namespace hybrid_fast {

const ContrastKernels<float> kContrast_avx2 = {
    &avx2::contrast_row<float>, &avx2::prepare_column_row<float>, &avx2::sum_columns<float>};

}  // namespace hybrid_fast
