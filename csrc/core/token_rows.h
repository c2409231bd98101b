// Gathering and padding of tokenised texts.
#pragma once

#include <cstdint>
#include <span>

namespace hybrid_fast {

// Texts as token ids one after another: text i is ids[offsets[i]:offsets[i + 1]].
template <typename Id>
struct TokenRows {
  std::span<const Id> ids;
  std::span<const std::int64_t> offsets;  // one more than there are texts
};

// Writes where each of the chosen texts begins in a copy of them alone; the last entry is its size.
// Throws std::out_of_range for a row that is no text and std::invalid_argument when offsets do not
// ascend within the ids.
// REQUIRES: copy_offsets has one entry more than rows
template <typename Id>
void place_tokens(const TokenRows<Id>& texts, std::span<const std::int64_t> rows,
                  std::span<std::int64_t> copy_offsets);

// Copies the chosen texts one after another.
// REQUIRES: copy_offsets as place_tokens wrote them, copy of that size
template <typename Id>
void copy_tokens(const TokenRows<Id>& texts, std::span<const std::int64_t> rows,
                 std::span<const std::int64_t> copy_offsets, std::span<Id> copy);

// Writes the chosen texts as rows of a matrix, each filled up to `length` with `pad_id`.
// Throws as place_tokens, and std::invalid_argument for a text that is longer.
// REQUIRES: matrix has rows.size() * length entries
template <typename Id>
void pad_tokens(const TokenRows<Id>& texts, std::span<const std::int64_t> rows, std::int64_t length,
                std::int64_t pad_id, std::span<std::int64_t> matrix);

}  // namespace hybrid_fast
