#include "core/grouping.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

namespace hybrid_fast {
namespace {

constexpr int kDigitBits = 11;
constexpr std::size_t kDigits = std::size_t{1} << kDigitBits;

// Sorts by the bits [first_bit, last_bit) of `key(item)`, least significant digit first.
template <typename Item, typename Key>
void radix_sort(std::vector<Item>& items, int first_bit, int last_bit, Key&& key) {
  std::vector<Item> other(items.size());
  for (int shift = first_bit; shift < last_bit; shift += kDigitBits) {
    const auto digit = [&](const Item& item) { return (key(item) >> shift) & (kDigits - 1); };
    std::array<std::size_t, kDigits + 1> starts{};
    for (const Item& item : items) ++starts[digit(item) + 1];
    std::partial_sum(starts.begin(), starts.end(), starts.begin());
    for (const Item& item : items) other[starts[digit(item)]++] = item;
    items.swap(other);
  }
}

template <typename Item, typename Row>
std::vector<std::uint32_t> rows_of(const std::vector<Item>& items, Row&& row) {
  std::vector<std::uint32_t> rows(items.size());
  std::transform(items.begin(), items.end(), rows.begin(), row);
  return rows;
}

}  // namespace

std::vector<std::uint32_t> sorted_rows(std::span<const std::int64_t> keys) {
  if (std::is_sorted(keys.begin(), keys.end())) {
    std::vector<std::uint32_t> rows(keys.size());
    std::iota(rows.begin(), rows.end(), 0u);
    return rows;
  }
  const auto [low, high] = std::minmax_element(keys.begin(), keys.end());
  // Unsigned subtraction is exact over the whole range of int64.
  const auto base = static_cast<std::uint64_t>(*low);
  const int bits = std::bit_width(static_cast<std::uint64_t>(*high) - base);
  if (bits <= 32) {  // key and row fit one word
    std::vector<std::uint64_t> items(keys.size());
    for (std::size_t row = 0; row < keys.size(); ++row) {
      items[row] = (static_cast<std::uint64_t>(keys[row]) - base) << 32 | row;
    }
    radix_sort(items, 32, 32 + bits, [](std::uint64_t item) { return item; });
    return rows_of(items, [](std::uint64_t item) { return static_cast<std::uint32_t>(item); });
  }
  struct Item {
    std::uint64_t key;
    std::uint32_t row;
  };
  std::vector<Item> items(keys.size());
  for (std::size_t row = 0; row < keys.size(); ++row) {
    items[row] = {static_cast<std::uint64_t>(keys[row]) - base, static_cast<std::uint32_t>(row)};
  }
  radix_sort(items, 0, bits, [](const Item& item) { return item.key; });
  return rows_of(items, [](const Item& item) { return item.row; });
}

Groups group_rows(const Columns& columns) {
  Groups groups;
  groups.rows = sorted_rows(columns.groups);
  for (std::uint32_t i = 0; i < groups.rows.size(); ++i) {
    if (i == 0 || columns.groups[groups.rows[i]] != columns.groups[groups.rows[i - 1]]) {
      groups.starts.push_back(i);
    }
  }
  groups.starts.push_back(static_cast<std::uint32_t>(groups.rows.size()));
  return groups;
}

SharedPassages find_shared_passages(const Columns& columns) {
  SharedPassages shared;
  // Every passage its own: the usual case needs no sorting.
  if (std::adjacent_find(columns.passages.begin(), columns.passages.end(),
                         std::greater_equal<>()) == columns.passages.end()) {
    return shared;
  }
  const std::vector<std::uint32_t> rows = sorted_rows(columns.passages);
  for (std::size_t first = 0; first < rows.size();) {
    const std::int64_t passage = columns.passages[rows[first]];
    const std::int64_t group = columns.groups[rows[first]];
    std::size_t last = first + 1;
    bool several_groups = false;
    for (; last < rows.size() && columns.passages[rows[last]] == passage; ++last) {
      several_groups |= columns.groups[rows[last]] != group;
    }
    if (several_groups && passage != -1) {
      if (shared.codes.empty()) shared.codes.resize(columns.size(), 0);
      ++shared.num_codes;
      for (std::size_t i = first; i < last; ++i) shared.codes[rows[i]] = shared.num_codes;
    }
    first = last;
  }
  return shared;
}

}  // namespace hybrid_fast
