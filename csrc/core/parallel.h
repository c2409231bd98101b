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

#include "core/team.h"

namespace hybrid_fast {

// Calls run() on the calling thread and on others, at most num_threads together; those that the
// system does not let start are left out. Returns after the last of these calls.
// REQUIRES: run throws nothing
template <typename Run>
void run_on_new_threads(std::size_t num_threads, const Run& run) {
  std::vector<std::jthread> others;
  try {
    for (std::size_t k = 1; k < num_threads; ++k) others.emplace_back(run);
  } catch (const std::exception&) {  // a limit of threads, or no memory for one
  }
  run();
}

// The same, on threads that wait for work if there are enough of them.
template <typename Run>
void run_on_threads(std::size_t num_threads, const Run& run) {
  struct Shares {
    const Run& run;
    std::atomic<std::size_t> left;
  } shares{run, num_threads};
  const auto take_share = [](void* data) {
    auto& shares = *static_cast<Shares*>(data);
    std::size_t left = shares.left;
    while (left > 0 && !shares.left.compare_exchange_weak(left, left - 1)) {
    }
    if (left > 0) shares.run();
  };
  if (num_threads < 2) {
    run();
  } else if (!run_on_team(num_threads, take_share, &shares)) {
    run_on_new_threads(num_threads, run);
  }
}

// Calls work(i) for every i in [0, count), each once, in any order, by way of
// start(number of threads, what each does). Throws what work throws, the first of it, after all
// threads have ended; the rest of the work is then not begun.
template <typename Start, typename Work>
void share_out(std::size_t count, std::size_t num_threads, const Start& start, const Work& work) {
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
  start(std::min(num_threads, count), run);
  if (error) std::rethrow_exception(error);
}

// As share_out, on at most `num_threads` threads; those that the system does not let start leave
// their share to the others.
template <typename Work>
void parallel_for(std::size_t count, std::size_t num_threads, const Work& work) {
  share_out(
      count, num_threads, [](std::size_t n, const auto& run) { run_on_threads(n, run); }, work);
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

// The same on all cores, whatever number of threads torch has: on threads of our own, as its worker
// processes need them.
template <typename Work>
void parallel_for(std::size_t count, const Work& work) {
  share_out(
      count, std::max(1u, std::thread::hardware_concurrency()),
      [](std::size_t n, const auto& run) { run_on_new_threads(n, run); }, work);
}

}  // namespace hybrid_fast
