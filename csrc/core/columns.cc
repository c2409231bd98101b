#include "core/columns.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

namespace hybrid_fast {
namespace {

// Rows ordered by key, equal keys by row: least significant digit first, digits that do not vary
// are passed over.
std::vector<std::uint32_t> sorted_rows(std::span<const std::int64_t> keys) {
  constexpr int kDigitBits = 11;
  constexpr std::size_t kDigits = std::size_t{1} << kDigitBits;
  std::vector<std::uint32_t> rows(keys.size());
  std::iota(rows.begin(), rows.end(), 0u);
  if (std::is_sorted(keys.begin(), keys.end())) return rows;
  const auto [low, high] = std::minmax_element(keys.begin(), keys.end());
  // Unsigned subtraction is exact over the whole range of int64.
  const auto base = static_cast<std::uint64_t>(*low);
  const std::uint64_t range = static_cast<std::uint64_t>(*high) - base;
  std::vector<std::uint32_t> other(keys.size());
  for (int shift = 0; shift < 64 && (range >> shift) != 0; shift += kDigitBits) {
    const auto digit = [&](std::uint32_t row) {
      return ((static_cast<std::uint64_t>(keys[row]) - base) >> shift) & (kDigits - 1);
    };
    std::array<std::uint32_t, kDigits + 1> starts{};
    for (std::uint32_t row : rows) ++starts[digit(row) + 1];
    std::partial_sum(starts.begin(), starts.end(), starts.begin());
    for (std::uint32_t row : rows) other[starts[digit(row)]++] = row;
    rows.swap(other);
  }
  return rows;
}

void check_codes(std::span<const std::int32_t> codes, std::int32_t limit, const char* name) {
  const auto bad =
      std::find_if(codes.begin(), codes.end(), [&](auto c) { return c < 0 || c >= limit; });
  if (bad != codes.end()) {
    throw std::invalid_argument(
        std::string(name) + " of row " + std::to_string(bad - codes.begin()) + " is " +
        std::to_string(*bad) + "; codes from 0 to " + std::to_string(limit - 1) + " are needed");
  }
}

void check(const Columns& columns) {
  const std::size_t n = columns.size();
  if (columns.languages.size() != n || columns.passages.size() != n || columns.uses.size() != n ||
      columns.sources.size() != n) {
    throw std::invalid_argument("columns differ in length: groups " + std::to_string(n) +
                                ", languages " + std::to_string(columns.languages.size()) +
                                ", passages " + std::to_string(columns.passages.size()) +
                                ", uses " + std::to_string(columns.uses.size()) + ", sources " +
                                std::to_string(columns.sources.size()));
  }
  if (n == 0) throw std::invalid_argument("the table has no rows");
  if (n >= std::numeric_limits<std::uint32_t>::max()) {
    throw std::invalid_argument("the table has " + std::to_string(n) +
                                " rows; fewer than 2^32 - 1 are supported");
  }
  check_codes(columns.languages, columns.num_languages, "language");
  check_codes(columns.sources, columns.num_sources, "source");
}

// Gives codes from 1 to the passages that occur in two groups or more.
void find_shared_passages(const Columns& columns, Groups& groups) {
  std::vector<std::uint32_t> group_of(columns.size());
  for (std::uint32_t g = 0; g < groups.size(); ++g) {
    for (std::uint32_t row : groups.rows_of(g)) group_of[row] = g;
  }
  const std::vector<std::uint32_t> rows = sorted_rows(columns.passages);
  std::vector<std::uint32_t>& codes = groups.shared_passages;
  for (std::size_t first = 0; first < rows.size();) {
    const std::int64_t passage = columns.passages[rows[first]];
    std::size_t last = first + 1;
    bool shared = false;
    for (; last < rows.size() && columns.passages[rows[last]] == passage; ++last) {
      shared |= group_of[rows[last]] != group_of[rows[first]];
    }
    if (shared && passage != -1) {
      if (codes.empty()) codes.resize(columns.size(), 0);
      ++groups.num_shared_passages;
      for (std::size_t i = first; i < last; ++i) codes[rows[i]] = groups.num_shared_passages;
    }
    first = last;
  }
}

}  // namespace

Groups group_rows(const Columns& columns) {
  check(columns);
  Groups groups;
  groups.rows = sorted_rows(columns.groups);
  for (std::uint32_t i = 0; i < groups.rows.size(); ++i) {
    if (i == 0 || columns.groups[groups.rows[i]] != columns.groups[groups.rows[i - 1]]) {
      groups.starts.push_back(i);
    }
  }
  groups.starts.push_back(static_cast<std::uint32_t>(groups.rows.size()));
  find_shared_passages(columns, groups);
  return groups;
}

Resources Groups::resources(std::uint32_t group, std::uint32_t query_row,
                            std::uint32_t passage_row) const {
  Resources resources{{group}, 1};
  for (std::uint32_t row : {query_row, passage_row}) {
    const std::uint32_t passage = shared_passage(row);
    if (passage != 0) {
      resources.codes[resources.size++] = static_cast<std::uint32_t>(size()) + passage;
    }
  }
  return resources;
}

Capacity::Capacity(std::size_t num_resources)
    : parents_(num_resources), taken_(num_resources), used_(num_resources) {
  std::iota(parents_.begin(), parents_.end(), 0u);
}

std::uint32_t Capacity::root(std::uint32_t resource) {
  while (parents_[resource] != resource) {
    parents_[resource] = parents_[parents_[resource]];
    resource = parents_[resource];
  }
  return resource;
}

void Capacity::add(const Resources& example) {
  const auto resources = std::span(example.codes).first(example.size);
  most_resources_ = std::max(most_resources_, resources.size());
  bool free = true;
  for (std::uint32_t resource : resources) {
    free = free && !taken_[resource];
    if (!used_[resource]) ++num_used_;
    used_[resource] = true;
    const std::uint32_t a = root(resources.front());
    const std::uint32_t b = root(resource);
    if (a != b) {
      parents_[b] = a;
      ++num_joined_;
    }
  }
  if (!free) return;
  for (std::uint32_t resource : resources) taken_[resource] = true;
  ++num_greedy_;
}

std::uint64_t Capacity::bound() const {
  return std::max(num_used_ - num_joined_, (num_greedy_ + most_resources_ - 1) / most_resources_);
}

}  // namespace hybrid_fast
