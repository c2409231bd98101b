// The built index on disk: mapped as it is, so that opening costs no more than its checksum.
//
//   Header         magic, version, byte order, sizes, checksum of all that follows
//   sizes          bytes of the note and of each array, 8 bytes each
//   note           text of the caller (names, fingerprint of the table)
//   arrays         in the order of for_each_array, each at a multiple of 64 bytes
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/plan_index.h"

namespace hybrid_fast {

struct NotedIndex {
  std::shared_ptr<const PlanIndex> index;
  std::string note;
};

// Hands the file's bytes to `sink`, part after part.
void write_index(const PlanIndex& index, std::string_view note,
                 const std::function<void(std::span<const std::byte>)>& sink);

// Throws std::system_error when the file cannot be written; it may then be incomplete.
void save_index(const PlanIndex& index, std::string_view note, const std::string& path);

// Throws std::system_error when the file cannot be read, std::invalid_argument when it is not
// an index, is of another version or byte order, or is truncated or altered.
NotedIndex open_index(const std::string& path);

// The same from bytes, which are copied.
NotedIndex read_index(std::string_view bytes);

}  // namespace hybrid_fast
