// How large a batch can always be filled, whichever examples come first.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace hybrid_fast {

// What an example takes up in a batch: its group and the shared texts of its two rows, as codes
// of one range. Two examples conflict if they have one in common.
struct Resources {
  std::array<std::uint32_t, 5> codes;
  std::size_t size;
};

// Lower bound of the size of every maximal set of examples without conflict, so that a batch of
// that size can be filled greedily. Connected examples count once; alternatively each chosen
// example blocks at most one example of the largest set for each of its resources.
class Capacity {
 public:
  explicit Capacity(std::size_t num_resources);
  // Forgets all examples, in time that follows their number.
  void clear();
  // REQUIRES: every code < num_resources
  void add(const Resources& example);
  std::uint64_t bound() const;

 private:
  std::uint32_t root(std::uint32_t resource);

  std::vector<std::uint32_t> parents_;  // a forest over the resources of connected examples
  std::vector<bool> taken_, used_;
  std::vector<std::uint32_t> touched_;  // the used ones
  std::uint64_t num_joined_ = 0;
  std::uint64_t num_greedy_ = 0;
  std::size_t most_resources_ = 1;
};

}  // namespace hybrid_fast
