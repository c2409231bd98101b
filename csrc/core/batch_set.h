// Which groups and shared texts a batch already holds.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "core/shared_texts.h"

namespace hybrid_fast {

// An open-addressing set of 32-bit codes that is emptied in O(1).
class CodeSet {
 public:
  // Room for twice as many as expected.
  void clear(std::uint64_t expected) {
    const std::size_t size = std::bit_ceil(4 * expected + 4);
    if (slots_.size() < size || stamp_ == UINT32_MAX) {
      slots_.assign(size, Slot{});
      stamp_ = 0;
    }
    ++stamp_;
  }
  bool contains(std::uint32_t code) const { return slots_[find(code)].stamp == stamp_; }
  void insert(std::uint32_t code) { slots_[find(code)] = {stamp_, code}; }

 private:
  struct Slot {
    std::uint32_t stamp = 0;
    std::uint32_t code = 0;
  };
  std::size_t find(std::uint32_t code) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t i = (code * std::uint64_t{0x9E3779B97F4A7C15u} >> 32) & mask;
    while (slots_[i].stamp == stamp_ && slots_[i].code != code) i = (i + 1) & mask;
    return i;
  }

  std::vector<Slot> slots_;
  std::uint32_t stamp_ = 0;
};

// Guarantee 1 for one batch: no group, no query and no passage twice.
class BatchSet {
 public:
  void clear(std::uint64_t batch_size) {
    groups_.clear(batch_size);
    texts_.clear(2 * batch_size);  // at most half full with four texts an example
  }
  // Takes the example in and returns true, or returns false and stays as it was.
  bool add(std::uint32_t group, const TextCodes& texts) {
    if (groups_.contains(group)) return false;
    for (std::uint32_t text : texts) {
      if (texts_.contains(text)) return false;
    }
    groups_.insert(group);
    for (std::uint32_t text : texts) texts_.insert(text);
    return true;
  }
  bool has_group(std::uint32_t group) const { return groups_.contains(group); }

 private:
  CodeSet groups_;
  CodeSet texts_;
};

}  // namespace hybrid_fast
