// How large a batch can always be filled, whichever examples come first.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/plan_index.h"

namespace hybrid_fast {

// Lower bound of the size of every maximal set of examples without conflict, so that a batch of
// that size can be filled greedily. The larger of two:
//   Connected examples count once.
//   Of a set S without conflict, every example is in the maximal set or conflicts with one there,
//   so as many groups are needed as together touch all of S. An example touches those of S that
//   have its group or a shared text of its rows.
class Capacity {
 public:
  explicit Capacity(const PlanIndex& index);

  // `for_each(visit)` visits examples, those of a group one after another, such that each row is
  // in one, and is called twice. Takes time that follows their number.
  template <typename ForEach>
  std::uint64_t of(ForEach&& for_each) {
    clear();
    for_each([&](const Example& example) { add(example); });
    for_each([&](const Example& example) { touch(example); });
    return bound();
  }

 private:
  // Examples of S, numbered from 1, that one group touches; more than kMost are impossible.
  static constexpr std::size_t kMost = 5;
  struct Touched {
    std::uint32_t group = UINT32_MAX;
    std::array<std::uint32_t, kMost> all;
    std::size_t size = 0;
    std::size_t by_group = 0;                   // by the group itself, ...
    std::size_t by_row = 0, by_second_row = 0;  // ... by the texts of the two rows with most
  };

  void clear();
  void add(const Example& example);
  void touch(const Example& example);
  void touch_row(std::uint32_t row);
  void end_group();
  std::uint64_t bound();
  std::uint32_t root(std::uint32_t resource);

  const PlanIndex& index_;
  std::vector<std::uint32_t> parents_;  // a forest over the resources of connected examples
  std::vector<std::uint32_t> owners_;   // by resource, the example of S that has it
  std::vector<bool> used_;
  std::vector<std::uint32_t> resources_;  // the used ones
  std::uint64_t num_joined_ = 0;
  std::uint32_t num_owners_ = 0;                       // size of S
  Touched touched_;                                    // by the group that is visited
  std::array<std::uint64_t, kMost + 1> num_groups_{};  // by how many of S they touch
};

}  // namespace hybrid_fast
