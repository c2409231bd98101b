#include "core/negative_mask.h"

namespace hybrid_fast {

NegativeMask NegativeMask::from_row(std::int64_t first) const {
  NegativeMask rest = *this;
  rest.query_groups = after(query_groups, first);
  rest.query_passage_ids = after(query_passage_ids, first);
  rest.mask = after(mask, first * mask_stride);
  rest.first_row = first_row + first;
  rest.in_batch = after(in_batch, first);
  return rest;
}

}  // namespace hybrid_fast
