#define HYBRID_FAST_ISA portable
#define HYBRID_FAST_VECTOR_BYTES 16
#include "core/contrast_rows_impl.h"

namespace hybrid_fast {

const ContrastKernels<float> kContrast_portable = {&portable::contrast_row<float>,
                                                   &portable::prepare_column_row<float>,
                                                   &portable::sum_columns<float>};

const ContrastKernels<double> kContrastDouble = {&portable::contrast_row<double>,
                                                 &portable::prepare_column_row<double>,
                                                 &portable::sum_columns<double>};

}  // namespace hybrid_fast
