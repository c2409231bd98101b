// Texts (queries, or passages) that several groups have, by row of the table.
//
// Most rows share none, so a row keeps a bit, and its code stands among those of the rows that do.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hybrid_fast {

// 64 rows of the table: which of them have a code, and how many codes stand before theirs.
struct CodedRows {
  std::uint64_t bits = 0;
  std::uint32_t first = 0;
  std::uint32_t unused = 0;  // named, so that files hold no padding
};

// The code of a row, from 1; 0 where its text is its group's alone. `rows` is empty where no text
// is shared.
inline std::uint32_t shared_code(std::span<const CodedRows> rows,
                                 std::span<const std::uint32_t> codes, std::uint32_t row) {
  if (rows.empty()) return 0;
  const CodedRows& block = rows[row / 64];
  const std::uint64_t bit = std::uint64_t{1} << (row % 64);
  if ((block.bits & bit) == 0) return 0;
  return codes[block.first + static_cast<std::uint32_t>(std::popcount(block.bits & (bit - 1)))];
}

struct SharedTexts {
  std::vector<CodedRows> rows;
  std::vector<std::uint32_t> codes;
  std::uint32_t num_codes = 0;
  std::uint64_t num_different = 0;  // of all texts, shared or not
};

// Different codes of the texts of one example: those of its query's row and of its passage's row.
class TextCodes {
 public:
  void add(std::uint32_t code) {
    if (code == 0 || std::find(begin(), end(), code) != end()) return;
    codes_[size_++] = code;
  }
  const std::uint32_t* begin() const { return codes_.data(); }
  const std::uint32_t* end() const { return codes_.data() + size_; }

 private:
  std::array<std::uint32_t, 4> codes_;
  std::size_t size_ = 0;
};

// `texts`: by row, equal for equal texts, -1 for none; `groups`: by row.
SharedTexts find_shared_texts(std::span<const std::int64_t> texts,
                              std::span<const std::int64_t> groups);

}  // namespace hybrid_fast
