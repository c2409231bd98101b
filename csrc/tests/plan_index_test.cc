// The index against the plain definition: every group of every pair, in full and in mixed cells,
// and the saved index against the built one.
#include "core/plan_index.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/index_file.h"
#include "tests/check.h"
#include "tests/table.h"

using namespace hybrid_fast;

namespace {

// Rows in random order; a row is there with the given chance.
Table RandomTable(std::int64_t num_groups, std::int32_t num_languages, double density,
                  std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::pair<std::int64_t, std::int32_t>> rows;
  for (std::int64_t group = 0; group < num_groups; ++group) {
    for (std::int32_t language = 0; language < num_languages; ++language) {
      if (static_cast<double>(random() >> 11) * 0x1p-53 < density)
        rows.emplace_back(group, language);
    }
  }
  std::shuffle(rows.begin(), rows.end(), random);
  Table table;
  table.num_languages = num_languages;
  table.num_sources = 2;
  for (const auto& [group, language] : rows) {
    table.add(group, language, static_cast<std::int64_t>(table.passages.size()));
    if (random() % 8 == 0) table.uses.back() = kCrossQuery;
    table.sources.back() = static_cast<std::int32_t>(group % 2);
  }
  return table;
}

// Every pair lists exactly the groups that have it, each once, with their rows.
void CheckPairs(const Table& table, const PlanIndex& index) {
  std::map<std::pair<std::int32_t, std::int32_t>, std::set<std::int64_t>> expected;
  std::map<std::int64_t, std::vector<std::size_t>> rows_of;
  for (std::size_t row = 0; row < table.groups.size(); ++row) {
    rows_of[table.groups[row]].push_back(row);
  }
  for (const auto& [group, rows] : rows_of) {
    for (std::size_t query : rows) {
      for (std::size_t passage : rows) {
        if (query == passage || !(table.uses[passage] & kCrossPassage)) continue;
        expected[{table.languages[query], table.languages[passage]}].insert(group);
      }
    }
  }
  CHECK(index.pairs(false).size() == expected.size());
  for (const Pair& pair : index.pairs(false)) {
    std::set<std::int64_t> groups;
    std::set<std::uint32_t> numbers;
    for (std::uint32_t i = 0; i < pair.size; ++i) {
      const Example example = index.example(index.locate(pair, i), i, false);
      CHECK(table.languages[example.query_row] == pair.query_language);
      CHECK(table.languages[example.passage_row] == pair.passage_language);
      CHECK(table.groups[example.query_row] == table.groups[example.passage_row]);
      CHECK(groups.insert(table.groups[example.query_row]).second);
      CHECK(numbers.insert(example.group).second);
    }
    const bool same = groups == expected[{pair.query_language, pair.passage_language}];
    CHECK(same);
  }
}

std::size_t NumMixedCells(const PlanIndex& index) {
  return std::ranges::count_if(index.arrays().cells, &Cell::mixed);
}

void FewProfilesMakeFullCells() {
  const Table table = RandomTable(300, 4, 0.6, 1);
  const PlanIndex index = PlanIndex::build(table.columns(), {});
  CHECK(NumMixedCells(index) == 0);
  CheckPairs(table, index);
}

void ManyProfilesMakeMixedCells() {
  const Table table = RandomTable(3000, 40, 0.25, 2);
  const PlanIndex index = PlanIndex::build(table.columns(), {});
  CHECK(NumMixedCells(index) >= 2);
  CheckPairs(table, index);
}

void AllPairsAreAlikeOnCompleteTables() {
  const Table table = RandomTable(100, 5, 2.0, 3);
  CheckPairs(table, PlanIndex::build(table.columns(), {}));
}

std::string Bytes(const PlanIndex& index) {
  std::string bytes;
  write_index(index, "a note", [&](std::span<const std::byte> part) {
    bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
  });
  return bytes;
}

void SavedIndexIsTheSame() {
  const Table table = RandomTable(3000, 40, 0.25, 4);
  const std::string bytes = Bytes(PlanIndex::build(table.columns(), {}));
  const NotedIndex read = read_index(bytes);
  CHECK(read.note == "a note");
  CheckPairs(table, *read.index);
  CHECK(Bytes(*read.index) == bytes);
  CHECK(Bytes(PlanIndex::build(table.columns(), {})) == bytes);
}

void DamageIsNoticed() {
  const Table table = RandomTable(50, 3, 0.8, 5);
  const std::string bytes = Bytes(PlanIndex::build(table.columns(), {}));
  for (std::size_t size = 0; size < bytes.size(); size += 13) {
    CHECK_THROWS(read_index(bytes.substr(0, size)), std::invalid_argument);
  }
  CHECK_THROWS(read_index(bytes + "x"), std::invalid_argument);
  for (std::size_t place : {0, 8, 12, 16, 24, 40, 200, 300}) {
    std::string altered = bytes;
    altered[place] ^= 16;
    CHECK_THROWS(read_index(altered), std::invalid_argument);
  }
}

void ProgressIsReportedAndMayEndTheBuilding() {
  const Table table = RandomTable(50, 3, 0.8, 6);
  std::vector<int> seen;
  PlanIndex::build(table.columns(), [&](int done, int total) {
    CHECK(done <= total);
    seen.push_back(done);
  });
  CHECK(std::is_sorted(seen.begin(), seen.end()) && seen.size() > 3);
  CHECK_THROWS(
      PlanIndex::build(table.columns(), [](int, int) { throw std::runtime_error("enough"); }),
      std::runtime_error);
}

}  // namespace

int main() {
  FewProfilesMakeFullCells();
  ManyProfilesMakeMixedCells();
  AllPairsAreAlikeOnCompleteTables();
  SavedIndexIsTheSame();
  DamageIsNoticed();
  ProgressIsReportedAndMayEndTheBuilding();
}
