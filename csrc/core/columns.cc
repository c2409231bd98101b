#include "core/columns.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace hybrid_fast {
namespace {

// Labels hold a language and its uses in 16 bits.
constexpr std::int32_t kMostLanguages = 4096;
constexpr std::uint8_t kAllUses = kMonoExample | kMixedExample | kCrossQuery | kCrossPassage;

void check_codes(std::span<const std::int32_t> codes, std::int32_t limit, const char* name) {
  const auto bad =
      std::find_if(codes.begin(), codes.end(), [&](auto c) { return c < 0 || c >= limit; });
  if (bad != codes.end()) {
    throw std::invalid_argument(
        std::string(name) + " of row " + std::to_string(bad - codes.begin()) + " is " +
        std::to_string(*bad) + "; codes from 0 to " + std::to_string(limit - 1) + " are needed");
  }
}

}  // namespace

void check(const Columns& columns) {
  const std::size_t n = columns.size();
  if (columns.languages.size() != n || columns.passages.size() != n || columns.uses.size() != n ||
      columns.sources.size() != n || (!columns.queries.empty() && columns.queries.size() != n)) {
    throw std::invalid_argument("columns differ in length: groups " + std::to_string(n) +
                                ", languages " + std::to_string(columns.languages.size()) +
                                ", queries " + std::to_string(columns.queries.size()) +
                                ", passages " + std::to_string(columns.passages.size()) +
                                ", uses " + std::to_string(columns.uses.size()) + ", sources " +
                                std::to_string(columns.sources.size()));
  }
  if (n == 0) throw std::invalid_argument("the table has no rows");
  if (n >= std::numeric_limits<std::uint32_t>::max()) {
    throw std::invalid_argument("the table has " + std::to_string(n) +
                                " rows; fewer than 2^32 - 1 are supported");
  }
  if (columns.num_languages > kMostLanguages) {
    throw std::invalid_argument("the table has " + std::to_string(columns.num_languages) +
                                " languages; at most " + std::to_string(kMostLanguages) +
                                " are supported");
  }
  check_codes(columns.languages, columns.num_languages, "language");
  check_codes(columns.sources, columns.num_sources, "source");
  const auto bad = std::find_if(columns.uses.begin(), columns.uses.end(),
                                [](std::uint8_t uses) { return uses > kAllUses; });
  if (bad != columns.uses.end()) {
    throw std::invalid_argument("uses of row " + std::to_string(bad - columns.uses.begin()) +
                                " are " + std::to_string(*bad) + "; 0 to " +
                                std::to_string(kAllUses) + " are needed");
  }
}

}  // namespace hybrid_fast
