// A small table as the core takes it.
#pragma once

#include <cstdint>
#include <vector>

#include "core/columns.h"

namespace hybrid_fast {

struct Table {
  std::vector<std::int64_t> groups;
  std::vector<std::int32_t> languages;
  std::vector<std::int64_t> queries;  // empty: all differ
  std::vector<std::int64_t> passages;
  std::vector<std::uint8_t> uses;
  std::vector<std::int32_t> sources;
  std::int32_t num_languages = 0;
  std::int32_t num_sources = 1;

  // A row of source 0 that serves everything.
  void add(std::int64_t group, std::int32_t language, std::int64_t passage) {
    groups.push_back(group);
    languages.push_back(language);
    passages.push_back(passage);
    uses.push_back(kMonoExample | kMixedExample | kCrossQuery | kCrossPassage);
    sources.push_back(0);
  }
  Columns columns() const {
    return {groups, languages, queries, passages, uses, sources, num_languages, num_sources};
  }
};

}  // namespace hybrid_fast
