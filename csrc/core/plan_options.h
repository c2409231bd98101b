// What a plan is asked for and what it answers.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "core/batch_set.h"

namespace hybrid_fast {

enum class Kind : std::uint8_t { kMono = 0, kCross = 1, kMixed = 2, kHybrid = 3 };

struct PlanOptions {
  std::int64_t batch_size = 0;
  Kind kind = Kind::kHybrid;
  double alpha = 0.5;                    // share of mono batches; only for kHybrid
  double exponent = 0.0;                 // a language or pair with n examples weighs n^exponent ...
  std::vector<double> language_weights;  // ... or this, by language
  std::vector<double> pair_weights;      // by query language * num_languages + passage language;
                                         // empty: the product of the language weights, if given
  std::vector<double> source_weights;    // by source; empty: sources are not weighted
  bool single_pair = false;              // one pair for a whole cross batch
  std::uint64_t seed = 0;
};

// What the law asked for and what it became, for a language (mono) or a pair (cross, mixed), of one
// source where sources are weighted.
struct Share {
  std::int32_t query_language;
  std::int32_t passage_language;
  std::int32_t source;  // -1 where sources are not weighted
  std::uint64_t size;   // rows (mono) or groups (pairs)
  double asked;
  double effective;
};

struct BatchInfo {
  Kind kind;
  std::int32_t substituted_entries = 0;  // replaced by another of their language or pair
  std::int32_t substituted_lanes = 0;    // given to another pair or source, for want of an entry
};

// A batch being filled.
struct Draft {
  std::int64_t* query_rows;
  std::int64_t* passage_rows;
  BatchSet& taken;
  BatchInfo& info;
};

// Random tries for a free entry before all are gone through.
inline constexpr std::uint64_t kTries = 64;

inline double power_law(std::uint64_t size, double exponent) {
  return size == 0 ? 0.0 : std::pow(static_cast<double>(size), exponent);
}

}  // namespace hybrid_fast
