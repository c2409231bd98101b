// The distinct profiles of groups, numbered: many groups have the same languages.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "core/plan_index.h"
#include "core/random.h"

namespace hybrid_fast {

// The profile of a group: its languages with their uses, ascending, and its source.
struct Profile {
  std::uint64_t first_label;
  std::uint32_t num_labels;
  std::int32_t source;
  std::uint32_t num_groups = 0;
};

// Numbers equal profiles alike, in the order in which they come.
class Profiles {
 public:
  std::uint32_t number(std::span<const Label> labels, std::int32_t source) {
    if (2 * (profiles_.size() + 1) > slots_.size()) grow();
    std::size_t slot = hash(labels, source) & (slots_.size() - 1);
    for (; slots_[slot] != kFree; slot = (slot + 1) & (slots_.size() - 1)) {
      const Profile& profile = profiles_[slots_[slot]];
      if (profile.source == source && std::ranges::equal(this->labels(profile), labels)) {
        return slots_[slot];
      }
    }
    slots_[slot] = static_cast<std::uint32_t>(profiles_.size());
    profiles_.push_back({labels_.size(), static_cast<std::uint32_t>(labels.size()), source});
    labels_.insert(labels_.end(), labels.begin(), labels.end());
    return slots_[slot];
  }
  std::span<const Label> labels(const Profile& profile) const {
    return std::span(labels_).subspan(profile.first_label, profile.num_labels);
  }
  std::vector<Profile>& all() { return profiles_; }
  const std::vector<Profile>& all() const { return profiles_; }

 private:
  static constexpr std::uint32_t kFree = std::numeric_limits<std::uint32_t>::max();

  static std::uint64_t hash(std::span<const Label> labels, std::int32_t source) {
    std::uint64_t h = static_cast<std::uint64_t>(source);
    for (const Label& label : labels) {
      h = mix(h + 0x9E3779B97F4A7C15u * (std::uint64_t(label.language()) << 8 | label.uses()));
    }
    return mix(h);
  }
  void grow() {
    slots_.assign(std::max<std::size_t>(1024, 2 * slots_.size()), kFree);
    for (std::uint32_t number = 0; number < profiles_.size(); ++number) {
      std::size_t slot = hash(labels(profiles_[number]), profiles_[number].source);
      while (slots_[slot & (slots_.size() - 1)] != kFree) ++slot;
      slots_[slot & (slots_.size() - 1)] = number;
    }
  }

  std::vector<Profile> profiles_;
  std::vector<Label> labels_;
  std::vector<std::uint32_t> slots_;
};

}  // namespace hybrid_fast
