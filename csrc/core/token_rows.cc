#include "core/token_rows.h"

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>

#include "core/parallel.h"

namespace hybrid_fast {
namespace {

// Rows of one piece of work: below two of them threads would cost more than they save.
constexpr std::size_t kRowsPerPiece = 2048;

template <typename Id>
std::span<const Id> text_at(const TokenRows<Id>& texts, std::int64_t row) {
  const auto num_texts = static_cast<std::int64_t>(texts.offsets.size()) - 1;
  if (row < 0 || row >= num_texts) {
    throw std::out_of_range("there is no text " + std::to_string(row) + " among " +
                            std::to_string(num_texts));
  }
  const std::int64_t begin = texts.offsets[row], end = texts.offsets[row + 1];
  if (begin < 0 || begin > end || end > static_cast<std::int64_t>(texts.ids.size())) {
    throw std::invalid_argument("text " + std::to_string(row) + " lies at [" +
                                std::to_string(begin) + ", " + std::to_string(end) + ") of " +
                                std::to_string(texts.ids.size()) + " ids");
  }
  return texts.ids.subspan(begin, end - begin);
}

template <typename Work>
void for_each_row(std::size_t num_rows, Work&& work) {
  parallel_for((num_rows + kRowsPerPiece - 1) / kRowsPerPiece, [&](std::size_t piece) {
    const std::size_t begin = piece * kRowsPerPiece;
    for (std::size_t i = begin; i < std::min(begin + kRowsPerPiece, num_rows); ++i) work(i);
  });
}

}  // namespace

template <typename Id>
void place_tokens(const TokenRows<Id>& texts, std::span<const std::int64_t> rows,
                  std::span<std::int64_t> copy_offsets) {
  std::int64_t size = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    copy_offsets[i] = size;
    size += static_cast<std::int64_t>(text_at(texts, rows[i]).size());
  }
  copy_offsets[rows.size()] = size;
}

template <typename Id>
void copy_tokens(const TokenRows<Id>& texts, std::span<const std::int64_t> rows,
                 std::span<const std::int64_t> copy_offsets, std::span<Id> copy) {
  for_each_row(rows.size(), [&](std::size_t i) {
    const Id* text = texts.ids.data() + texts.offsets[rows[i]];
    std::copy_n(text, copy_offsets[i + 1] - copy_offsets[i], copy.data() + copy_offsets[i]);
  });
}

template <typename Id>
void pad_tokens(const TokenRows<Id>& texts, std::span<const std::int64_t> rows, std::int64_t length,
                std::int64_t pad_id, std::span<std::int64_t> matrix) {
  for (const std::int64_t row : rows) {
    const auto size = static_cast<std::int64_t>(text_at(texts, row).size());
    if (size > length) {
      throw std::invalid_argument("text " + std::to_string(row) + " has " + std::to_string(size) +
                                  " tokens; it cannot be padded to " + std::to_string(length));
    }
  }
  for_each_row(rows.size(), [&](std::size_t i) {
    const std::int64_t begin = texts.offsets[rows[i]], end = texts.offsets[rows[i] + 1];
    std::int64_t* row = matrix.data() + static_cast<std::ptrdiff_t>(i) * length;
    std::copy(texts.ids.data() + begin, texts.ids.data() + end, row);
    std::fill(row + (end - begin), row + length, pad_id);
  });
}

#define INSTANTIATE(Id)                                                                       \
  template void place_tokens(const TokenRows<Id>&, std::span<const std::int64_t>,             \
                             std::span<std::int64_t>);                                        \
  template void copy_tokens(const TokenRows<Id>&, std::span<const std::int64_t>,              \
                            std::span<const std::int64_t>, std::span<Id>);                    \
  template void pad_tokens(const TokenRows<Id>&, std::span<const std::int64_t>, std::int64_t, \
                           std::int64_t, std::span<std::int64_t>);
INSTANTIATE(std::uint16_t)
INSTANTIATE(std::int32_t)
#undef INSTANTIATE

}  // namespace hybrid_fast
