// Independent pieces of work on all cores.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace hybrid_fast {

// Calls work(i) for every i in [0, count), each once, in any order. REQUIRES: work does not throw
template <typename Work>
void parallel_for(std::size_t count, Work&& work) {
  std::atomic<std::size_t> next = 0;
  const auto run = [&] {
    for (std::size_t i = next++; i < count; i = next++) work(i);
  };
  const std::size_t cores = std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::thread> others;
  for (std::size_t k = 1; k < std::min(cores, count); ++k) others.emplace_back(run);
  run();
  for (std::thread& thread : others) thread.join();
}

}  // namespace hybrid_fast
