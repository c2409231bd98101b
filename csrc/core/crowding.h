// Sampling weights in effect: lowered where those asked for would draw a group more than once a
// batch.
#pragma once

#include <cstdint>
#include <vector>

#include "core/pair_streams.h"
#include "core/plan_index.h"

namespace hybrid_fast {

// Stream k serves batch_size * weights[k] / (sum of weights) examples a batch, spread evenly over
// its groups, so that a group may be expected more than once. The streams that ask most of a
// crowded group are cut to the level at which it comes up once, and no lower; the others share what
// is left by their weights. Returns the weights in effect, exactly as they were where nothing is
// crowded.
std::vector<double> uncrowded(const PlanIndex& index, const PairStreams& streams, bool same_row,
                              std::uint64_t batch_size, std::vector<double> weights);

}  // namespace hybrid_fast
