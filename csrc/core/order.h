// The order in which a stream (all examples of one language or pair) is drawn, pass after pass.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "core/random.h"

namespace hybrid_fast {

// The order of one pass over [0, size). Every pass is a permutation, and any `window` consecutive
// positions of the endless stream hold no entry twice, also where one pass ends and the next
// begins.
//
// Entries fall into classes by their remainder. A pass begins with one class, ends with another,
// and has all others shuffled together between; its first class is never the last of the pass
// before. With room for three windows or more there are up to 34 classes, so that nearly every
// two entries come to share a window. With room for two, even entries go before odd ones; with
// less, all passes keep one order.
class PassOrder {
 public:
  // REQUIRES: size >= 1, window >= 1. A window of 1 leaves passes free.
  PassOrder(std::uint64_t size, std::uint64_t window, std::uint64_t key, std::uint64_t pass)
      : PassOrder(size, num_classes(size, window), derive(key, size >= 2 * window ? pass : 0),
                  last_class(size, window, key, pass - 1), last_class(size, window, key, pass)) {}

  // The entry at a position of the endless stream.
  static std::uint64_t at(std::uint64_t size, std::uint64_t window, std::uint64_t key,
                          std::uint64_t position) {
    const std::uint64_t pass = position / size, i = position % size;
    // The usual case needs but one of the three permutations.
    if (window <= 1) return Permutation(size, derive(key, pass))(i);
    return PassOrder(size, window, key, pass)(i);
  }

  // The entry at position `i` of the pass. REQUIRES: i < size
  std::uint64_t operator()(std::uint64_t i) const {
    if (num_classes_ == 1) return first_order_(i);
    if (i < num_first_) return first_order_(i) * num_classes_ + first_;
    if (i >= size_ - num_last_) {
      return last_order_(i - (size_ - num_last_)) * num_classes_ + last_;
    }
    // Between, entry v stands in row v / (num_classes - 2); the last row may be short.
    const std::uint64_t v = middle_order_(i - num_first_);
    const std::uint64_t row = std::min(v >> middle_bits_, size_ / num_classes_);
    return row * num_classes_ + middle_class(v - (row << middle_bits_));
  }

 private:
  PassOrder(std::uint64_t size, std::uint64_t num_classes, std::uint64_t pass_key,
            std::uint64_t last_before, std::uint64_t last)
      : size_(size),
        num_classes_(num_classes),
        last_(last),
        first_(first_class(num_classes, pass_key, last_before, last)),
        num_first_(num_classes == 1 ? size : class_size(first_)),
        num_last_(num_classes == 1 ? 0 : class_size(last_)),
        middle_bits_(num_classes <= 2 ? 0 : std::bit_width(num_classes - 2) - 1),
        first_order_(num_first_, pass_key),
        middle_order_(std::max<std::uint64_t>(1, size - num_first_ - num_last_), mix(pass_key)),
        last_order_(std::max<std::uint64_t>(1, num_last_), ~pass_key) {}

  // 1, 2, or 2 + a power of two, each class with room for a window.
  static std::uint64_t num_classes(std::uint64_t size, std::uint64_t window) {
    constexpr std::uint64_t kMostInTheMiddle = 32;
    if (window <= 1 || size < 2 * window) return 1;
    if (size < 3 * window) return 2;
    // size / (2^b + 2) >= window, found without a division.
    std::uint64_t middle = 1;
    while (middle < kMostInTheMiddle && size >= (2 * middle + 2) * window) middle *= 2;
    return middle + 2;
  }
  static std::uint64_t last_class(std::uint64_t size, std::uint64_t window, std::uint64_t key,
                                  std::uint64_t pass) {
    const std::uint64_t classes = num_classes(size, window);
    if (classes <= 2) return classes - 1;
    return (derive(~key, pass) >> 32) * classes >> 32;
  }
  static std::uint64_t first_class(std::uint64_t num_classes, std::uint64_t pass_key,
                                   std::uint64_t last_before, std::uint64_t last) {
    if (num_classes <= 2) return 0;
    std::uint64_t first = (pass_key >> 32) * num_classes >> 32;
    while (first == last_before || first == last) first = first + 1 == num_classes ? 0 : first + 1;
    return first;
  }
  std::uint64_t class_size(std::uint64_t c) const {
    return size_ / num_classes_ + (c < size_ % num_classes_ ? 1 : 0);
  }
  // The k-th class that is neither first nor last.
  std::uint64_t middle_class(std::uint64_t k) const {
    const std::uint64_t low = std::min(first_, last_), high = std::max(first_, last_);
    k += k >= low ? 1 : 0;
    return k + (k >= high ? 1 : 0);
  }

  std::uint64_t size_, num_classes_;
  std::uint64_t last_, first_;
  std::uint64_t num_first_, num_last_;
  int middle_bits_;
  Permutation first_order_, middle_order_, last_order_;
};

}  // namespace hybrid_fast
