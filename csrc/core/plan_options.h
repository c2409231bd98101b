// What a plan is asked for and what it answers.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "core/batch_set.h"
#include "core/random.h"

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
  std::int64_t world_size = 1;  // the largest batch size named in an error is a multiple of it
};

// What the law asked for and what it became, for a language (mono) or a pair (cross, mixed), of one
// source where sources are weighted.
struct Share {
  std::int32_t query_language;
  std::int32_t passage_language;
  std::int32_t source;     // -1 where sources are not weighted
  std::uint64_t size;      // rows (mono) or groups (pairs)
  std::uint64_t capacity;  // batch size that it can always fill alone
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

// Looks for an i in [0, size) that `accept(i, draw)` takes: some at random, then all in turn.
// `draw` is a random number for choices within i.
template <typename Accept>
bool find_free(std::uint64_t size, std::uint64_t key, Accept&& accept) {
  constexpr std::uint64_t kTries = 64;
  for (std::uint64_t attempt = 0; attempt < kTries; ++attempt) {
    const std::uint64_t draw = derive(key, attempt);
    if (accept(draw % size, draw >> 33)) return true;
  }
  for (std::uint64_t i = 0; i < size; ++i) {
    if (accept((key + i) % size, key >> 33)) return true;
  }
  return false;
}

inline double power_law(std::uint64_t size, double exponent) {
  return size == 0 ? 0.0 : std::pow(static_cast<double>(size), exponent);
}

}  // namespace hybrid_fast
