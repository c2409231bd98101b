// What a plan is asked for and what it answers.
#pragma once

#include <algorithm>
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

// The share asked for by the sampling weights and the share in effect, of a language (mono) or a
// pair (cross, mixed), of one source where sources are weighted.
struct Share {
  std::int32_t query_language;
  std::int32_t passage_language;
  std::int32_t source;     // -1 where sources are not weighted
  std::uint64_t size;      // rows (mono) or groups (pairs)
  std::uint64_t capacity;  // largest batch that it can always fill alone
  double asked;
  double effective;
};

struct BatchInfo {
  Kind kind;
  std::int32_t substituted_entries = 0;  // replaced by another of their language or pair
  std::int32_t substituted_streams = 0;  // replaced by one of another pair or source
};

// A batch being filled.
struct Draft {
  std::int64_t* query_rows;
  std::int64_t* passage_rows;
  BatchSet& taken;
  BatchInfo& info;
};

// The search for an i in [0, size) that a batch can still take. A batch only fills up, so what was
// found taken once is never looked at again: all searches of one batch together pass over it once.
class FreeSearch {
 public:
  static constexpr std::uint64_t kChunk = 32;

  // Some at random, then the others in turn. `try_one(i, draw)` takes a choice of i, by the random
  // number `draw`, into the batch and returns true, or returns false. `try_chunk(first, count)`
  // tries all choices of [first, first + count), count <= kChunk, and returns how many i it passed.
  template <typename TryOne, typename TryChunk>
  bool find(std::uint64_t size, std::uint64_t key, TryOne&& try_one, TryChunk&& try_chunk) {
    if (num_passed_ == 0) start_ = key % size;
    // Trying at random must cost less than passing over all of them, which comes but once.
    const std::uint64_t most_tries = std::max(kTries, size / 4);
    for (; num_passed_ == 0 && num_tried_ < most_tries; ++num_tried_) {
      const std::uint64_t draw = derive(key, num_tried_);
      if (try_one(draw % size, draw >> 33)) return true;
    }
    while (num_passed_ < size) {
      const std::uint64_t first = (start_ + num_passed_) % size;
      const std::uint64_t count = std::min({kChunk, size - first, size - num_passed_});
      const std::uint64_t passed = try_chunk(first, count);
      num_passed_ += passed;
      if (passed < count) return true;
    }
    return false;
  }

 private:
  static constexpr std::uint64_t kTries = 64;

  std::uint64_t start_ = 0;
  std::uint64_t num_tried_ = 0;
  std::uint64_t num_passed_ = 0;
};

// Sampling by size: proportional for exponent 1, uniform for 0.
inline double weight_by_size(std::uint64_t size, double exponent) {
  return size == 0 ? 0.0 : std::pow(static_cast<double>(size), exponent);
}

}  // namespace hybrid_fast
