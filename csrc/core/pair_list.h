// The pairs of languages of an index whose cells are made: which cells hold groups of each.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "core/plan_index.h"

namespace hybrid_fast {

// What presence bits stand for.
enum Role { kQueries, kPassages, kBoth, kRoles };
inline constexpr Use kRoleUses[kRoles] = {kCrossQuery, kCrossPassage, kMixedExample};
inline constexpr std::uint16_t kNoSet = std::numeric_limits<std::uint16_t>::max();

// By mixed cell: the number of its set of presence bits for role * num_languages + language, or
// kNoSet.
using PresenceSets = std::vector<std::vector<std::uint16_t>>;

// Fills pairs, slices, spans and guides, and counts the cross pairs. REQUIRES: summary, cells,
// labels, group_entries and words are there.
void list_pairs(const PresenceSets& sets, IndexVectors& arrays);

}  // namespace hybrid_fast
