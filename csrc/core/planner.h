// The batch plan: a pure function of (index, options, step).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/mono_planner.h"
#include "core/pair_planner.h"
#include "core/plan_index.h"
#include "core/plan_options.h"

namespace hybrid_fast {

class Planner {
 public:
  // Throws std::invalid_argument on bad options and when no weights can serve batch_size.
  Planner(std::shared_ptr<const PlanIndex> index, const PlanOptions& options);

  // Its parts refer to other members.
  Planner(const Planner&) = delete;
  Planner& operator=(const Planner&) = delete;

  // The whole global batch of a step; both arrays have room for batch_size rows.
  // Throws std::invalid_argument when step is negative or beyond last_step().
  BatchInfo plan(std::int64_t step, std::int64_t* query_rows, std::int64_t* passage_rows) const;
  std::int64_t batch_size() const { return options_.batch_size; }
  // The last step whose positions fit 64 bits.
  std::int64_t last_step() const;

  // Empty where the kind draws no such batches.
  std::vector<Share> mono_shares() const;
  std::vector<Share> pair_shares() const;

 private:
  void check_batch_size() const;
  // Mono steps among the first `steps`: within one of alpha * steps.
  std::uint64_t mono_steps(std::uint64_t steps) const;

  PlanOptions options_;
  std::uint64_t alpha_;  // in units of 2^-62
  std::uint64_t phase_;  // likewise; makes seeds differ in which steps are mono
  std::shared_ptr<const PlanIndex> index_;
  std::unique_ptr<MonoPlanner> mono_;
  std::unique_ptr<PairPlanner> pairs_;
};

}  // namespace hybrid_fast
