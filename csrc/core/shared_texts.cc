#include "core/shared_texts.h"

#include <algorithm>
#include <functional>

#include "core/grouping.h"

namespace hybrid_fast {
namespace {

// `codes`: by row, 0 for none.
void keep(const std::vector<std::uint32_t>& codes, SharedTexts& shared) {
  shared.rows.resize((codes.size() + 63) / 64);
  for (std::size_t row = 0; row < codes.size(); ++row) {
    CodedRows& block = shared.rows[row / 64];
    if (row % 64 == 0) block.first = static_cast<std::uint32_t>(shared.codes.size());
    if (codes[row] == 0) continue;
    block.bits |= std::uint64_t{1} << (row % 64);
    shared.codes.push_back(codes[row]);
  }
}

}  // namespace

SharedTexts find_shared_texts(std::span<const std::int64_t> texts,
                              std::span<const std::int64_t> groups) {
  SharedTexts shared;
  // Every text its own: the usual case needs no sorting.
  if (std::adjacent_find(texts.begin(), texts.end(), std::greater_equal<>()) == texts.end()) {
    shared.num_different = texts.size() - (!texts.empty() && texts.front() == -1 ? 1 : 0);
    return shared;
  }
  const std::vector<std::uint32_t> rows = sorted_rows(texts);
  std::vector<std::uint32_t> codes;
  for (std::size_t first = 0; first < rows.size();) {
    const std::int64_t text = texts[rows[first]];
    const std::int64_t group = groups[rows[first]];
    std::size_t last = first + 1;
    bool several_groups = false;
    for (; last < rows.size() && texts[rows[last]] == text; ++last) {
      several_groups |= groups[rows[last]] != group;
    }
    if (text != -1) ++shared.num_different;
    if (several_groups && text != -1) {
      codes.resize(texts.size(), 0);
      ++shared.num_codes;
      for (std::size_t i = first; i < last; ++i) codes[rows[i]] = shared.num_codes;
    }
    first = last;
  }
  keep(codes, shared);
  return shared;
}

}  // namespace hybrid_fast
