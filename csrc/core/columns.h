// The table as the core sees it: one entry a row, arrays held by the caller.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

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
  std::span<const std::int64_t> passages;   // -1: none
  std::span<const std::uint8_t> uses;
  std::span<const std::int32_t> sources;  // in [0, num_sources)
  std::int32_t num_languages = 0;
  std::int32_t num_sources = 0;

  std::size_t size() const { return groups.size(); }
};

// What an example takes up in a batch: its group and the shared passages of its two rows. Two
// examples conflict if they have one in common.
struct Resources {
  std::array<std::uint32_t, 3> codes;
  std::size_t size;
};

// Rows sorted by group, then by row, and where each group begins; plus what the rows share.
struct Groups {
  std::vector<std::uint32_t> rows;    // all rows, group by group
  std::vector<std::uint32_t> starts;  // first position of each group in `rows`, then rows.size()
  // Code, from 1, of a passage that several groups have, by row; 0: the row's passage is its
  // group's alone. Empty where no passage is shared.
  std::vector<std::uint32_t> shared_passages;

  std::uint32_t num_shared_passages = 0;

  std::size_t size() const { return starts.size() - 1; }
  std::span<const std::uint32_t> rows_of(std::uint32_t group) const {
    return std::span(rows).subspan(starts[group], starts[group + 1] - starts[group]);
  }
  std::uint32_t shared_passage(std::uint32_t row) const {
    return shared_passages.empty() ? 0 : shared_passages[row];
  }
  std::size_t num_resources() const { return size() + num_shared_passages + 1; }
  Resources resources(std::uint32_t group, std::uint32_t query_row,
                      std::uint32_t passage_row) const;
};

// Throws std::invalid_argument when the columns differ in length, a code is out of range, or the
// table is too large for 32-bit rows.
Groups group_rows(const Columns& columns);

// Empties a vector and gives its memory back, which assigning {} does not.
template <typename T>
void release(std::vector<T>& values) {
  std::vector<T>().swap(values);
}

// Lower bound of the size of every maximal set of examples without conflict, so that a batch of
// that size can be filled greedily. Connected examples count once; alternatively each chosen
// example blocks at most one example of the largest set for each of its resources.
class Capacity {
 public:
  explicit Capacity(std::size_t num_resources);
  // REQUIRES: every code < num_resources
  void add(const Resources& example);
  std::uint64_t bound() const;

 private:
  std::uint32_t root(std::uint32_t resource);

  std::vector<std::uint32_t> parents_;
  std::vector<bool> taken_;
  std::vector<bool> used_;
  std::uint64_t num_used_ = 0;
  std::uint64_t num_joined_ = 0;
  std::uint64_t num_greedy_ = 0;
  std::size_t most_resources_ = 1;
};

}  // namespace hybrid_fast
