// The plan on small tables: guarantees 1 and 2, capacities, and bad input. The guarantees on many
// tables are tested from Python.
#include "core/planner.h"

#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/check.h"
#include "tests/table.h"

using namespace hybrid_fast;

namespace {

Table CompleteTable(std::int64_t num_groups, std::int32_t num_languages) {
  Table table;
  table.num_languages = num_languages;
  for (std::int64_t group = 0; group < num_groups; ++group) {
    for (std::int32_t language = 0; language < num_languages; ++language) {
      table.add(group - 7, language, group * num_languages + language);
    }
  }
  return table;
}

std::shared_ptr<const PlanIndex> Index(const Table& table) {
  return std::make_shared<PlanIndex>(PlanIndex::build(table.columns(), {}));
}

PlanOptions Options(std::int64_t batch_size, Kind kind) {
  PlanOptions options;
  options.batch_size = batch_size;
  options.kind = kind;
  return options;
}

void CheckBatches(const Table& table, const PlanOptions& options, int num_steps) {
  const Planner planner(Index(table), options);
  std::vector<std::int64_t> queries(options.batch_size), passages(options.batch_size);
  for (int step = 0; step < num_steps; ++step) {
    const BatchInfo info = planner.plan(step, queries.data(), passages.data());
    std::set<std::int64_t> groups, passage_ids, query_ids;
    for (std::int64_t i = 0; i < options.batch_size; ++i) {
      CHECK(table.groups[queries[i]] == table.groups[passages[i]]);
      const bool same = table.languages[queries[i]] == table.languages[passages[i]];
      CHECK(same == (info.kind != Kind::kCross));
      if (info.kind == Kind::kMono) {
        CHECK(table.languages[queries[i]] == table.languages[queries[0]]);
      }
      groups.insert(table.groups[queries[i]]);
      passage_ids.insert(table.passages[passages[i]]);
      if (!table.queries.empty()) query_ids.insert(table.queries[queries[i]]);
    }
    CHECK(groups.size() == static_cast<std::size_t>(options.batch_size));
    CHECK(passage_ids.size() == static_cast<std::size_t>(options.batch_size));
    CHECK(query_ids.size() ==
          (table.queries.empty() ? 0 : static_cast<std::size_t>(options.batch_size)));
  }
}

void CompleteTablesOfEverySize() {
  for (std::int64_t num_groups = 6; num_groups < 60; num_groups += 3) {
    for (Kind kind : {Kind::kMono, Kind::kCross, Kind::kMixed, Kind::kHybrid}) {
      CheckBatches(CompleteTable(num_groups, 3), Options(6, kind), 60);
    }
  }
}

void SharedPassagesNeverMeet() {
  Table table = CompleteTable(64, 3);
  for (std::size_t row = 0; row < table.groups.size(); ++row) {
    table.passages[row] =
        (table.groups[row] + 7) / 4;  // four groups to a passage, in all languages
  }
  for (Kind kind : {Kind::kMono, Kind::kCross, Kind::kMixed, Kind::kHybrid}) {
    CheckBatches(table, Options(12, kind), 60);
  }
}

void SharedQueriesNeverMeet() {
  Table table = CompleteTable(64, 3);
  for (std::size_t row = 0; row < table.groups.size(); ++row) {
    // Four groups to a query of each language, other four to a passage.
    table.queries.push_back((table.groups[row] + 7) / 4 * 3 + table.languages[row]);
    table.passages[row] = (table.groups[row] + 7) % 16;
  }
  for (Kind kind : {Kind::kMono, Kind::kCross, Kind::kMixed, Kind::kHybrid}) {
    CheckBatches(table, Options(4, kind), 200);
  }
  const PlanIndex index = PlanIndex::build(table.columns(), {});
  CHECK(index.summary().num_queries == 48 && index.summary().num_shared_queries == 48);
  CHECK(index.summary().num_passages == 16);
  table.queries.pop_back();
  CHECK_THROWS(PlanIndex::build(table.columns(), {}), std::invalid_argument);
}

void LargestBatchSizeIsNamed() {
  for (Kind kind : {Kind::kMono, Kind::kCross, Kind::kMixed, Kind::kHybrid}) {
    const Table table = CompleteTable(10, 3);
    CheckBatches(table, Options(10, kind), 20);
    try {
      Planner(Index(table), Options(11, kind));
      CHECK(false);
    } catch (const std::invalid_argument& error) {
      CHECK(std::string(error.what()).find("works is 10") != std::string::npos);
    }
  }
}

void BadInput() {
  Table table = CompleteTable(10, 3);
  CHECK_THROWS(Planner(Index(table), Options(0, Kind::kMono)), std::invalid_argument);
  PlanOptions options = Options(4, Kind::kHybrid);
  options.alpha = 1.5;
  CHECK_THROWS(Planner(Index(table), options), std::invalid_argument);
  const Planner planner(Index(table), Options(4, Kind::kMono));
  std::vector<std::int64_t> rows(4);
  CHECK_THROWS(planner.plan(-1, rows.data(), rows.data()), std::invalid_argument);
  CHECK_THROWS(planner.plan(planner.last_step() + 1, rows.data(), rows.data()),
               std::invalid_argument);
  planner.plan(planner.last_step(), rows.data(), rows.data());
  table.languages[3] = 3;
  CHECK_THROWS(PlanIndex::build(table.columns(), {}), std::invalid_argument);
}

}  // namespace

int main() {
  CompleteTablesOfEverySize();
  SharedPassagesNeverMeet();
  SharedQueriesNeverMeet();
  LargestBatchSizeIsNamed();
  BadInput();
}
