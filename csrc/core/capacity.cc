#include "core/capacity.h"

#include <algorithm>
#include <numeric>

namespace hybrid_fast {

Capacity::Capacity(std::size_t num_resources)
    : parents_(num_resources), taken_(num_resources), used_(num_resources) {
  std::iota(parents_.begin(), parents_.end(), 0u);
}

void Capacity::clear() {
  for (std::uint32_t resource : touched_) {
    parents_[resource] = resource;
    taken_[resource] = used_[resource] = false;
  }
  touched_.clear();
  num_joined_ = num_greedy_ = 0;
  most_resources_ = 1;
}

std::uint32_t Capacity::root(std::uint32_t resource) {
  while (parents_[resource] != resource) {
    parents_[resource] = parents_[parents_[resource]];
    resource = parents_[resource];
  }
  return resource;
}

void Capacity::add(const Resources& example) {
  const auto resources = std::span(example.codes).first(example.size);
  most_resources_ = std::max(most_resources_, resources.size());
  bool free = true;
  for (std::uint32_t resource : resources) {
    free = free && !taken_[resource];
    if (!used_[resource]) touched_.push_back(resource);
    used_[resource] = true;
    const std::uint32_t a = root(resources.front());
    const std::uint32_t b = root(resource);
    if (a != b) {
      parents_[b] = a;
      ++num_joined_;
    }
  }
  if (!free) return;
  for (std::uint32_t resource : resources) taken_[resource] = true;
  ++num_greedy_;
}

std::uint64_t Capacity::bound() const {
  return std::max(touched_.size() - num_joined_,
                  (num_greedy_ + most_resources_ - 1) / most_resources_);
}

}  // namespace hybrid_fast
