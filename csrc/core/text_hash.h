// Ids of texts by their content.
#pragma once

#include <cstdint>
#include <span>

namespace hybrid_fast {

// The 64-bit hash of each text, on all cores. Text i is data[offsets[i]:offsets[i + 1]].
// Throws std::invalid_argument when offsets do not ascend within the data.
void hash_texts(std::span<const std::int64_t> offsets, std::span<const std::uint8_t> data,
                std::span<std::uint64_t> hashes);

}  // namespace hybrid_fast
