#include "core/planner.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/random.h"

namespace hybrid_fast {
namespace {

constexpr int kAlphaBits = 62;
constexpr double kLargestExponent = 30;
constexpr double kSmallestWeight = 1e-100;
constexpr double kLargestWeight = 1e100;
constexpr std::int64_t kMostSlots = std::int64_t{1} << 62;
__extension__ typedef unsigned __int128 Product;

void check_weights(const std::vector<double>& weights, std::size_t size, const char* name) {
  if (weights.empty()) return;
  if (weights.size() != size) {
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(weights.size()) +
                                " entries; " + std::to_string(size) + " are needed");
  }
  // Products of two weights and sums over all pairs stay far from the limits of a double.
  const bool valid = std::all_of(weights.begin(), weights.end(), [](double w) {
    return w == 0 || (w >= kSmallestWeight && w <= kLargestWeight);
  });
  if (!valid || std::none_of(weights.begin(), weights.end(), [](double w) { return w > 0; })) {
    throw std::invalid_argument(std::string(name) +
                                " must be finite and non-negative (0, or from 1e-100 to 1e100), "
                                "and one of them positive");
  }
}

PlanOptions checked(const Summary& table, const PlanOptions& options) {
  if (options.batch_size < 1) {
    throw std::invalid_argument("batch_size is " + std::to_string(options.batch_size) +
                                "; at least 1 is needed");
  }
  if (options.kind > Kind::kHybrid) {
    throw std::invalid_argument("kind is " + std::to_string(static_cast<int>(options.kind)) +
                                "; 0 (mono) to 3 (hybrid) are needed");
  }
  if (options.world_size < 1) {
    throw std::invalid_argument("world_size is " + std::to_string(options.world_size) +
                                "; at least 1 is needed");
  }
  if (!(options.alpha >= 0 && options.alpha <= 1)) {
    throw std::invalid_argument("alpha is " + std::to_string(options.alpha) +
                                "; a number from 0 to 1 is needed");
  }
  if (!(std::abs(options.exponent) <= kLargestExponent)) {
    throw std::invalid_argument("language_sampling is " + std::to_string(options.exponent) +
                                "; an exponent must be from -30 to 30");
  }
  const auto num_languages = static_cast<std::size_t>(table.num_languages);
  check_weights(options.language_weights, num_languages, "language_weights");
  check_weights(options.pair_weights, num_languages * num_languages, "pair_weights");
  check_weights(options.source_weights, static_cast<std::size_t>(table.num_sources),
                "source_weights");
  return options;
}

bool draws_mono(const PlanOptions& options) {
  return options.kind == Kind::kMono || (options.kind == Kind::kHybrid && options.alpha > 0);
}

bool draws_pairs(const PlanOptions& options) {
  return options.kind != Kind::kMono && !(options.kind == Kind::kHybrid && options.alpha == 1);
}

}  // namespace

Planner::Planner(std::shared_ptr<const PlanIndex> index, const PlanOptions& options)
    : options_(checked(index->summary(), options)),
      alpha_(static_cast<std::uint64_t>(std::ldexp(options.alpha, kAlphaBits))),
      phase_(derive(options.seed, 'a') >> (64 - kAlphaBits)),
      index_(std::move(index)) {
  if (draws_mono(options_)) mono_ = std::make_unique<MonoPlanner>(*index_, options_);
  if (draws_pairs(options_)) {
    pairs_ = std::make_unique<PairPlanner>(*index_, options_, options.kind == Kind::kMixed);
  }
  check_batch_size();
}

void Planner::check_batch_size() const {
  const char* kind = "mono";
  std::uint64_t largest = mono_ ? mono_->largest_batch() : UINT64_MAX;
  if (pairs_ && pairs_->largest_batch() < largest) {
    kind = options_.kind == Kind::kMixed ? "mixed" : "cross";
    largest = pairs_->largest_batch();
  }
  if (static_cast<std::uint64_t>(options_.batch_size) <= largest) return;
  largest -= largest % static_cast<std::uint64_t>(options_.world_size);
  throw std::invalid_argument("no " + std::string(kind) + " batch of " +
                              std::to_string(options_.batch_size) +
                              " can be filled without a group, query or passage twice; the largest "
                              "batch_size that works is " +
                              std::to_string(largest));
}

std::uint64_t Planner::mono_steps(std::uint64_t steps) const {
  if (!pairs_) return steps;
  if (!mono_) return 0;
  return static_cast<std::uint64_t>((Product{alpha_} * steps + phase_) >> kAlphaBits);
}

std::int64_t Planner::last_step() const { return kMostSlots / options_.batch_size - 1; }

BatchInfo Planner::plan(std::int64_t step, std::int64_t* query_rows,
                        std::int64_t* passage_rows) const {
  if (step < 0 || step > last_step()) {
    throw std::invalid_argument("step is " + std::to_string(step) + "; steps from 0 to " +
                                std::to_string(last_step()) + " exist");
  }
  thread_local BatchSet taken;
  taken.clear(static_cast<std::uint64_t>(options_.batch_size));
  BatchInfo info{};
  Draft draft{query_rows, passage_rows, taken, info};
  const auto now = static_cast<std::uint64_t>(step);
  const std::uint64_t before = mono_steps(now);
  if (mono_steps(now + 1) > before) {
    info.kind = Kind::kMono;
    mono_->plan(before, draft);
  } else {
    info.kind = options_.kind == Kind::kMixed ? Kind::kMixed : Kind::kCross;
    pairs_->plan(now - before, draft);
  }
  return info;
}

std::vector<Share> Planner::mono_shares() const {
  return mono_ ? mono_->shares() : std::vector<Share>{};
}

std::vector<Share> Planner::pair_shares() const {
  return pairs_ ? pairs_->shares() : std::vector<Share>{};
}

}  // namespace hybrid_fast
