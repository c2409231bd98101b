#include "bindings/bindings.h"

PYBIND11_MODULE(_core, m) {
  m.doc() =
      "C++ core of hybrid_fast: batch plan, kernels of the loss, dropout, ranks, texts and tokens.";
  hybrid_fast::bindings::bind_plan(m);
  hybrid_fast::bindings::bind_ranks(m);
  hybrid_fast::bindings::bind_tokens(m);
  hybrid_fast::bindings::bind_adam(m);
  hybrid_fast::bindings::bind_negative_mask(m);
  hybrid_fast::bindings::bind_infonce(m);
  hybrid_fast::bindings::bind_products(m);
  hybrid_fast::bindings::bind_layers(m);
}
