// The table as the core sees it: one entry a row, arrays held by the caller.
#pragma once

#include <cstdint>
#include <span>

namespace hybrid_fast {

// What a row may serve as; bits of Columns::uses.
enum Use : std::uint8_t {
  kMonoExample = 1,   // query and passage of a mono batch
  kMixedExample = 2,  // query and passage of a mixed batch
  kCrossQuery = 4,    // query of a cross batch
  kCrossPassage = 8,  // passage of a cross batch
};

struct Columns {
  std::span<const std::int64_t> groups;
  std::span<const std::int32_t> languages;  // in [0, num_languages)
  std::span<const std::int64_t> queries;    // -1: none; empty: all differ
  std::span<const std::int64_t> passages;   // -1: none
  std::span<const std::uint8_t> uses;       // 0: the row is never drawn
  std::span<const std::int32_t> sources;    // in [0, num_sources)
  std::int32_t num_languages = 0;
  std::int32_t num_sources = 0;

  std::size_t size() const { return groups.size(); }
};

// Throws std::invalid_argument when the columns are empty, differ in length, hold a code that is
// out of range, or are too large for 32-bit rows.
void check(const Columns& columns);

}  // namespace hybrid_fast
