#include "core/grouping.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

namespace hybrid_fast {
namespace {

constexpr int kDigitBits = 11;
constexpr std::size_t kDigits = std::size_t{1} << kDigitBits;
constexpr int kRowBits = 32;

// A row with 32 bits of its key above it.
using Item = std::uint64_t;

// Sorts by the lowest `bits` of the keys, least significant digit first; stable.
void radix_sort(std::vector<Item>& items, int bits) {
  std::vector<Item> other(items.size());
  for (int shift = kRowBits; shift < kRowBits + bits; shift += kDigitBits) {
    const auto digit = [&](Item item) { return (item >> shift) & (kDigits - 1); };
    std::array<std::size_t, kDigits + 1> starts{};
    for (Item item : items) ++starts[digit(item) + 1];
    std::partial_sum(starts.begin(), starts.end(), starts.begin());
    for (Item item : items) other[starts[digit(item)]++] = item;
    items.swap(other);
  }
}

}  // namespace

std::vector<std::uint32_t> sorted_rows(std::span<const std::int64_t> keys) {
  std::vector<std::uint32_t> rows(keys.size());
  if (std::is_sorted(keys.begin(), keys.end())) {
    std::iota(rows.begin(), rows.end(), 0u);
    return rows;
  }
  const auto [low, high] = std::minmax_element(keys.begin(), keys.end());
  // Unsigned subtraction is exact over the whole range of int64.
  const auto key = [&, base = static_cast<std::uint64_t>(*low)](std::size_t row) {
    return static_cast<std::uint64_t>(keys[row]) - base;
  };
  const int bits =
      std::bit_width(static_cast<std::uint64_t>(*high) - static_cast<std::uint64_t>(*low));
  std::vector<Item> items(keys.size());
  for (std::size_t row = 0; row < keys.size(); ++row) items[row] = key(row) << kRowBits | row;
  radix_sort(items, std::min(bits, kRowBits));
  const auto row_of = [](Item item) { return static_cast<std::uint32_t>(item); };
  if (bits > kRowBits) {
    for (Item& item : items) item = key(row_of(item)) >> kRowBits << kRowBits | row_of(item);
    radix_sort(items, bits - kRowBits);
  }
  std::transform(items.begin(), items.end(), rows.begin(), row_of);
  return rows;
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

}  // namespace hybrid_fast
