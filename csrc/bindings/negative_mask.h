// The Python class `NegativeMask`.
#pragma once

#include "bindings/call_arrays.h"
#include "core/negative_mask.h"

namespace hybrid_fast::bindings {

// The mask of a chunk, whose other arrays are `arrays`; of None the one that excludes nothing.
NegativeMask mask_of(const py::object& given, py::ssize_t num_rows, py::ssize_t num_columns,
                     CallArrays& arrays);

}  // namespace hybrid_fast::bindings
