#include "core/team.h"

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#include <unistd.h>

namespace hybrid_fast {
namespace {

// The entry that compilers call for `#pragma omp parallel`; LLVM's and Intel's OpenMP have it too.
using Parallel = void (*)(void (*run)(void*), void* data, unsigned num_threads, unsigned flags);

const pid_t loaded_by = getpid();

}  // namespace

bool run_in_team(void (*run)(void*), void* data, int num_threads) {
#ifdef HYBRID_FAST_CHECKS_RACES
  return false;  // the checker does not see how OpenMP's threads wait for one another
#endif
  static const auto parallel = reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  if (parallel == nullptr || getpid() != loaded_by) return false;
  parallel(run, data, static_cast<unsigned>(num_threads), 0);
  return true;
}

}  // namespace hybrid_fast
#else

namespace hybrid_fast {

bool run_in_team(void (*)(void*), void*, int) { return false; }

}  // namespace hybrid_fast
#endif
