#include "core/text_hash.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "core/parallel.h"
#include "core/random.h"

namespace hybrid_fast {
namespace {

std::uint64_t word_at(const std::uint8_t* bytes, std::size_t count) {
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < count; ++i) word |= std::uint64_t{bytes[i]} << (8 * i);
  return word;
}

// Eight bytes a step, in an order that does not follow the machine's.
std::uint64_t hash_text(std::span<const std::uint8_t> text) {
  std::uint64_t h = mix(text.size() + 0x9E3779B97F4A7C15u);
  for (; text.size() >= 8; text = text.subspan(8)) h = mix(h ^ word_at(text.data(), 8));
  return text.empty() ? h : mix(h ^ word_at(text.data(), text.size()));
}

}  // namespace

void hash_texts(std::span<const std::int64_t> offsets, std::span<const std::uint8_t> data,
                std::span<std::uint64_t> hashes) {
  if (offsets.size() != hashes.size() + 1 || offsets.front() < 0 ||
      !std::is_sorted(offsets.begin(), offsets.end()) ||
      static_cast<std::size_t>(offsets.back()) > data.size()) {
    throw std::invalid_argument("offsets must ascend within the data, one more than texts");
  }
  constexpr std::size_t kChunk = 16384;
  parallel_for((hashes.size() + kChunk - 1) / kChunk, [&](std::size_t chunk) {
    const std::size_t end = std::min(hashes.size(), (chunk + 1) * kChunk);
    for (std::size_t i = chunk * kChunk; i < end; ++i) {
      hashes[i] = hash_text(data.subspan(offsets[i], offsets[i + 1] - offsets[i]));
    }
  });
}

}  // namespace hybrid_fast
