// Work on the threads of torch's operations.
//
// Between two operations the threads of OpenMP wait in a loop, for some milliseconds, on the cores
// that threads of our own would need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "core/parallel.h"

namespace hybrid_fast {

// Calls run() on num_threads threads of OpenMP, this one among them. Returns false, without a call,
// if no OpenMP is loaded or this process was forked from one that may have used it: its threads do
// not exist here. run must not throw.
bool run_in_team(int num_threads, const std::function<void()>& run);

// parallel_for, in the team if there is one, for `size` entries of about a nanosecond each: on all of
// num_threads or, for a few entries, on this thread alone. A team of another size would end threads
// and start others.
template <typename Work>
void parallel_for_in_team(std::size_t count, std::int64_t size, int num_threads, Work&& work) {
  const int worth = count > 1 ? threads_for(size, num_threads) : threads_for(0, num_threads);
  share_out(count, work, [&](const std::function<void()>& run) {
    if (worth == 1) {
      run();
    } else if (!run_in_team(num_threads, run)) {
      run_with_helpers(worth - 1, run);
    }
  });
}

}  // namespace hybrid_fast
