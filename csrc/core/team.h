// Work on the threads of torch's operations.
//
// Between two operations the threads of OpenMP wait in a loop, for some milliseconds. Threads of
// our own would share the cores with them, and take longer to start than small kernels to run.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/parallel.h"

namespace hybrid_fast {

// Calls run(data) on num_threads threads of OpenMP, this one among them. Returns false, without a
// call, if no OpenMP is loaded or this process was forked from one that may have used it: its
// threads do not exist here.
bool run_in_team(void (*run)(void*), void* data, int num_threads);

// parallel_for, in the team if there is one, for `size` entries of about a nanosecond each: all of
// num_threads or, for a few entries, this thread alone. A team of another size would end threads
// and start others.
template <typename Work>
void parallel_for_in_team(std::size_t count, std::int64_t size, int num_threads, Work&& work) {
  const int worth = threads_for(size, num_threads);
  if (worth > 1 && count > 1) {
    Pieces<Work> pieces(count, work);
    const auto run = [](void* data) { static_cast<Pieces<Work>*>(data)->run(); };
    if (run_in_team(run, &pieces, num_threads)) return pieces.rethrow();
  }
  parallel_for(count, worth, work);
}

}  // namespace hybrid_fast
