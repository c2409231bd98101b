// Independent pieces of work on several cores.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace hybrid_fast {

// Work on `count` pieces that several threads share: each calls run().
template <typename Work>
class Pieces {
 public:
  Pieces(std::size_t count, Work& work) : count_(count), work_(work) {}
  // Calls work(i) for pieces that nobody has begun, until there are none.
  void run() {
    try {
      for (std::size_t i = next_++; i < count_; i = next_++) work_(i);
    } catch (...) {
      next_ = count_;
      if (!failed_.test_and_set()) error_ = std::current_exception();
    }
  }
  // Throws what work threw, the first of it. To be called when all threads have ended.
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::size_t count_;
  Work& work_;
  std::atomic<std::size_t> next_ = 0;
  std::atomic_flag failed_;
  std::exception_ptr error_;
};

// Calls work(i) for every i in [0, count), each once, in any order, on at most `num_threads`
// threads; those that the system does not let start leave their share to the others. Throws what
// work throws, the first of it, after all threads have ended; the rest of the work is then not
// begun.
template <typename Work>
void parallel_for(std::size_t count, std::size_t num_threads, Work&& work) {
  Pieces pieces(count, work);
  std::vector<std::jthread> others;
  try {
    for (std::size_t k = 1; k < std::min(num_threads, count); ++k) {
      others.emplace_back([&] { pieces.run(); });
    }
  } catch (const std::exception&) {  // a limit of threads, or no memory for one
  }
  pieces.run();
  others.clear();
  pieces.rethrow();
}

// How many of `num_threads` are worth starting for `size` entries of about a nanosecond each: a
// thread takes some 50 microseconds to start.
// Throws std::invalid_argument unless num_threads is at least 1.
inline int threads_for(std::int64_t size, int num_threads) {
  constexpr std::int64_t kEntriesOfThread = 1 << 16;
  if (num_threads < 1) {
    throw std::invalid_argument("num_threads is " + std::to_string(num_threads) +
                                "; at least 1 is needed");
  }
  return static_cast<int>(std::min<std::int64_t>(num_threads, 1 + size / kEntriesOfThread));
}

// The same on all cores.
template <typename Work>
void parallel_for(std::size_t count, Work&& work) {
  parallel_for(count, std::max(1u, std::thread::hardware_concurrency()), work);
}

}  // namespace hybrid_fast
