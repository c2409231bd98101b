#include "core/row_ranking.h"

#include <algorithm>
#include <array>
#include <bit>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/parallel.h"

namespace hybrid_fast {
namespace {

// Three passes over 11 bits sort a key of 32; the counters of a pass stay in the first-level cache.
constexpr int kDigitBits = 11, kNumDigits = 3;
constexpr std::size_t kNumValues = std::size_t{1} << kDigitBits;

struct Entry {
  std::uint32_t key;
  std::uint32_t column;
};

// A key that rises as the score falls; equal for 0 and -0.
std::uint32_t descending_key(float score) {
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0f);
  const std::uint32_t sign = bits >> 31;
  return ~(bits ^ (sign != 0 ? ~std::uint32_t{0} : std::uint32_t{1} << 31));
}

std::size_t digit(std::uint32_t key, int place) {
  return (key >> (place * kDigitBits)) & (kNumValues - 1);
}

// Entries of a row, sorted by radix from the lowest digit: stable, so equal keys stay in the order
// of columns.
class RowSorter {
 public:
  explicit RowSorter(std::int64_t num_columns) : entries_(num_columns), spare_(num_columns) {}

  std::span<const Entry> sort(const float* scores) {
    std::array<std::array<std::uint32_t, kNumValues>, kNumDigits> counts{};
    for (std::size_t k = 0; k < entries_.size(); ++k) {
      entries_[k] = {descending_key(scores[k]), static_cast<std::uint32_t>(k)};
      for (int place = 0; place < kNumDigits; ++place) {
        ++counts[place][digit(entries_[k].key, place)];
      }
    }
    for (int place = 0; place < kNumDigits; ++place) {
      std::uint32_t start = 0;
      for (std::uint32_t& count : counts[place]) {
        const std::uint32_t size = count;
        count = start;
        start += size;
      }
      for (const Entry& entry : entries_) spare_[counts[place][digit(entry.key, place)]++] = entry;
      entries_.swap(spare_);
    }
    return entries_;
  }

 private:
  std::vector<Entry> entries_, spare_;
};

// Gives each entry the mean of the ranks that entries with its key take.
void write_ranks(std::span<const Entry> sorted, float* ranks) {
  for (std::size_t begin = 0; begin < sorted.size();) {
    std::size_t end = begin + 1;
    while (end < sorted.size() && sorted[end].key == sorted[begin].key) ++end;
    const float rank = static_cast<float>(begin + 1 + end) / 2;
    for (; begin < end; ++begin) ranks[sorted[begin].column] = rank;
  }
}

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

void check(const RankingQuestion& question, std::size_t num_first) {
  require(question.num_rows >= 0 && question.num_columns >= 0, "sizes must not be negative");
  if (question.num_columns > kMaxRankedColumns) {
    throw std::invalid_argument("scores have " + std::to_string(question.num_columns) +
                                " columns; fewer than 2^32 can be ranked at a time");
  }
  require(question.num_first >= 0 && question.num_first <= question.num_columns,
          "num_first must be from 0 to the number of score columns");
  const auto rows = static_cast<std::size_t>(question.num_rows);
  require(question.scores.size() == rows * static_cast<std::size_t>(question.num_columns),
          "there must be one score for each column of each row");
  require(num_first == rows * static_cast<std::size_t>(question.num_first),
          "there must be num_first columns for each row");
}

// The first entries of a row, found with a heap whose top is the last of those kept.
class FirstFinder {
 public:
  std::span<const Entry> find(const float* scores, std::int64_t num_columns, std::size_t count) {
    kept_.clear();
    for (std::int64_t k = 0; k < num_columns && count > 0; ++k) {
      const Entry entry{descending_key(scores[k]), static_cast<std::uint32_t>(k)};
      if (kept_.size() == count) {
        // A later column with an equal score comes after.
        if (entry.key >= kept_.front().key) continue;
        std::pop_heap(kept_.begin(), kept_.end(), comes_before);
        kept_.back() = entry;
      } else {
        kept_.push_back(entry);
      }
      std::push_heap(kept_.begin(), kept_.end(), comes_before);
    }
    std::sort_heap(kept_.begin(), kept_.end(), comes_before);
    return kept_;
  }

 private:
  static bool comes_before(const Entry& a, const Entry& b) {
    return a.key < b.key || (a.key == b.key && a.column < b.column);
  }

  std::vector<Entry> kept_;
};

// Calls work(row, worker) for every row, with a copy of the Worker a thread.
template <typename Worker, typename Work>
void share_rows(std::int64_t num_rows, int num_threads, const Worker& worker, Work&& work) {
  require(num_threads >= 1, "num_threads must be at least 1");
  const std::int64_t num_parts = std::min<std::int64_t>(num_threads, num_rows);
  const auto num_workers = static_cast<std::size_t>(num_parts);
  parallel_for(num_workers, num_workers, [&](std::size_t part) {
    Worker own = worker;
    for (auto row = static_cast<std::int64_t>(part); row < num_rows; row += num_parts) {
      work(row, own);
    }
  });
}

void write_first(const RankingQuestion& question, std::int64_t row, std::span<const Entry> sorted,
                 std::span<std::int64_t> first) {
  for (std::int64_t k = 0; k < question.num_first; ++k) {
    first[row * question.num_first + k] = sorted[k].column;
  }
}

}  // namespace

void rank_rows(const RankingQuestion& question, int num_threads, std::span<float> ranks,
               std::span<std::int64_t> first) {
  check(question, first.size());
  require(ranks.size() == question.scores.size(), "there must be one rank for each score");
  share_rows(question.num_rows, num_threads, RowSorter(question.num_columns),
             [&](std::int64_t row, RowSorter& sorter) {
               const std::int64_t start = row * question.num_columns;
               const auto sorted = sorter.sort(question.scores.data() + start);
               write_ranks(sorted, ranks.data() + start);
               write_first(question, row, sorted, first);
             });
}

void find_first(const RankingQuestion& question, int num_threads, std::span<std::int64_t> first) {
  check(question, first.size());
  share_rows(question.num_rows, num_threads, FirstFinder(),
             [&](std::int64_t row, FirstFinder& finder) {
               const float* scores = question.scores.data() + row * question.num_columns;
               const auto count = static_cast<std::size_t>(question.num_first);
               write_first(question, row, finder.find(scores, question.num_columns, count), first);
             });
}

}  // namespace hybrid_fast
