// The threads that OpenMP keeps ready in this process, if a library that shares its symbols, as
// torch does, has brought it.
//
// To start threads of our own beside them costs more than their start: OpenMP's wait for their next
// work without leaving their cores, milliseconds long.
#pragma once

#include <cstddef>

namespace hybrid_fast {

// Calls run(data) on the calling thread and on those that OpenMP keeps for it, and returns true
// after the last of these calls. Returns false, without any, where there are fewer than num_threads
// of them, where their work called us, and in a process that was forked, which they did not follow.
// REQUIRES: run throws nothing
bool run_on_team(std::size_t num_threads, void (*run)(void*), void* data);

}  // namespace hybrid_fast
