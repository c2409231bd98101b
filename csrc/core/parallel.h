// Independent pieces of work on several cores.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>

namespace hybrid_fast {

// Calls work() on this thread, and also on up to `num_helpers` threads that are free before this
// one returns from it; then returns when all have returned. work must not throw. Helpers are
// threads that stay and sleep, since one takes 20 to 50 microseconds to start; none is waited for
// that has not begun. A process that is forked starts its own.
void run_with_helpers(std::size_t num_helpers, const std::function<void()>& work);

// Calls work(i) for every i in [0, count), each once, in any order, on at most `num_threads`
// threads; those that the system does not let start leave their share to the others. Throws what
// work throws, the first of it, after all threads have ended; the rest of the work is then not
// begun.
template <typename Work>
void parallel_for(std::size_t count, std::size_t num_threads, Work&& work) {
  std::atomic<std::size_t> next = 0;
  std::atomic_flag failed;
  std::exception_ptr error;
  const auto run = [&] {
    try {
      for (std::size_t i = next++; i < count; i = next++) work(i);
    } catch (...) {
      next = count;
      if (!failed.test_and_set()) error = std::current_exception();
    }
  };
  const std::size_t most = std::min(num_threads, count);
  run_with_helpers(most > 1 ? most - 1 : 0, std::ref(run));
  if (error) std::rethrow_exception(error);
}

// How many of `num_threads` are worth waking for `size` entries of about a nanosecond each: a
// helper takes some 10 microseconds to come, or has nothing left to do.
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
