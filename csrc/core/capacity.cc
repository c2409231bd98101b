#include "core/capacity.h"

#include <algorithm>
#include <numeric>
#include <span>

namespace hybrid_fast {

Capacity::Capacity(const PlanIndex& index)
    : index_(index),
      parents_(index.num_resources()),
      owners_(index.num_resources()),
      used_(index.num_resources()) {
  std::iota(parents_.begin(), parents_.end(), 0u);
}

void Capacity::clear() {
  for (std::uint32_t resource : resources_) {
    parents_[resource] = resource;
    owners_[resource] = 0;
    used_[resource] = false;
  }
  resources_.clear();
  num_joined_ = num_owners_ = 0;
  touched_ = {};
  num_groups_ = {};
}

std::uint32_t Capacity::root(std::uint32_t resource) {
  while (parents_[resource] != resource) {
    parents_[resource] = parents_[parents_[resource]];
    resource = parents_[resource];
  }
  return resource;
}

void Capacity::add(const Example& example) {
  const Resources found = index_.resources(example);
  const auto resources = std::span(found.codes).first(found.size);
  bool free = true;
  for (std::uint32_t resource : resources) {
    free = free && owners_[resource] == 0;
    if (!used_[resource]) resources_.push_back(resource);
    used_[resource] = true;
    const std::uint32_t a = root(resources.front());
    const std::uint32_t b = root(resource);
    if (a != b) {
      parents_[b] = a;
      ++num_joined_;
    }
  }
  if (!free) return;
  ++num_owners_;
  for (std::uint32_t resource : resources) owners_[resource] = num_owners_;
}

void Capacity::touch(const Example& example) {
  if (example.group != touched_.group) {
    end_group();
    touched_ = {};
    touched_.group = example.group;
  }
  touch_row(example.query_row);
  if (example.passage_row != example.query_row) touch_row(example.passage_row);
}

void Capacity::touch_row(std::uint32_t row) {
  const Resources found = index_.resources({touched_.group, row, row});
  const auto known = [&] { return touched_.all.begin() + touched_.size; };
  std::array<std::uint32_t, kMost> of_texts;
  std::size_t num_of_texts = 0;
  for (std::size_t i = 0; i < found.size; ++i) {
    const std::uint32_t owner = owners_[found.codes[i]];
    if (owner == 0) continue;
    if (touched_.size < kMost && std::find(touched_.all.begin(), known(), owner) == known()) {
      touched_.all[touched_.size++] = owner;
    }
    if (i == 0) touched_.by_group = 1;
    const auto end = of_texts.begin() + num_of_texts;
    if (owner != owners_[found.codes[0]] && std::find(of_texts.begin(), end, owner) == end) {
      of_texts[num_of_texts++] = owner;
    }
  }
  touched_.by_second_row =
      std::max(touched_.by_second_row, std::min(touched_.by_row, num_of_texts));
  touched_.by_row = std::max(touched_.by_row, num_of_texts);
}

void Capacity::end_group() {
  const std::size_t most = touched_.by_group + touched_.by_row + touched_.by_second_row;
  ++num_groups_[std::min(touched_.size, most)];
}

std::uint64_t Capacity::bound() {
  end_group();
  // Those that touch most come first.
  std::uint64_t num_needed = 0, num_left = num_owners_;
  for (std::size_t touched = kMost; touched > 0 && num_left > 0; --touched) {
    const std::uint64_t wanted = (num_left + touched - 1) / touched;
    const std::uint64_t count = std::min(wanted, num_groups_[touched]);
    num_needed += count;
    num_left -= std::min(num_left, count * touched);
  }
  return std::max(resources_.size() - num_joined_, num_needed);
}

}  // namespace hybrid_fast
