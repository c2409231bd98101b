#include "core/team.h"

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#include <unistd.h>

namespace hybrid_fast {
namespace {

// The entry that compilers call for `#pragma omp parallel`; LLVM's and Intel's OpenMP have it too.
using Parallel = void (*)(void (*call)(void*), void* data, unsigned num_threads, unsigned flags);

const pid_t loaded_by = getpid();

}  // namespace

bool run_in_team(int num_threads, const std::function<void()>& run) {
#ifdef HYBRID_FAST_CHECKS_RACES
  return false;  // the checker does not see how OpenMP's threads wait for one another
#endif
  static const auto parallel = reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  if (parallel == nullptr || getpid() != loaded_by) return false;
  const auto call = [](void* data) { (*static_cast<const std::function<void()>*>(data))(); };
  parallel(call, const_cast<std::function<void()>*>(&run), static_cast<unsigned>(num_threads), 0);
  return true;
}

}  // namespace hybrid_fast
#else

namespace hybrid_fast {

bool run_in_team(int, const std::function<void()>&) { return false; }

}  // namespace hybrid_fast
#endif
