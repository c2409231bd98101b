// Independent pieces of work on several cores.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace hybrid_fast {

// Calls work(i) for every i in [0, count), each once, in any order, on at most `num_threads`
// threads. REQUIRES: work does not throw
template <typename Work>
void parallel_for(std::size_t count, std::size_t num_threads, Work&& work) {
  std::atomic<std::size_t> next = 0;
  const auto run = [&] {
    for (std::size_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::thread> others;
  for (std::size_t k = 1; k < std::min(num_threads, count); ++k) others.emplace_back(run);
  run();
  for (std::thread& thread : others) thread.join();
}

// How many of `num_threads` are worth starting for `size` entries of about a nanosecond each: a
// thread takes some 50 microseconds to start.
inline int threads_for(std::int64_t size, int num_threads) {
  constexpr std::int64_t kEntriesOfThread = 1 << 16;
  return static_cast<int>(std::min<std::int64_t>(num_threads, 1 + size / kEntriesOfThread));
}

// The same on all cores.
template <typename Work>
void parallel_for(std::size_t count, Work&& work) {
  parallel_for(count, std::max(1u, std::thread::hardware_concurrency()), work);
}

}  // namespace hybrid_fast
