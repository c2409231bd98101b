#include "core/team.h"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <exception>
#include <thread>
#include <vector>

namespace hybrid_fast {
namespace {

// GNU's interface, which LLVM's and Intel's libraries have too.
struct OpenMp {
  void (*parallel)(void (*run)(void*), void* data, unsigned num_threads, unsigned flags);
  int (*max_threads)();
  int (*in_parallel)();

  bool complete() const { return parallel && max_threads && in_parallel; }
};

template <typename Function>
void find(const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}

// Those of the process; what is missing may still be loaded.
OpenMp openmp() {
  static std::atomic<bool> found = false;
  static OpenMp kept;
  if (found.load(std::memory_order_acquire)) return kept;
  OpenMp library{};
  find("GOMP_parallel", library.parallel);
  find("omp_get_max_threads", library.max_threads);
  find("omp_in_parallel", library.in_parallel);
  if (library.complete()) {
    static const bool once = (kept = library, true);
    found.store(once, std::memory_order_release);
  }
  return library;
}

std::atomic<bool> forked = false;
[[maybe_unused]] const int watched =
    pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); });

// Whether so many threads start. OpenMP ends the process if one of its own does not.
bool threads_start(int num_threads) {
  std::vector<std::jthread> others;
  try {
    for (int k = 1; k < num_threads; ++k) others.emplace_back([] {});
  } catch (const std::exception&) {
    return false;
  }
  return true;
}

}  // namespace

bool run_on_team(std::size_t num_threads, void (*run)(void*), void* data) {
  if (forked.load(std::memory_order_relaxed)) return false;
  const OpenMp library = openmp();
  if (!library.complete() || library.in_parallel()) return false;
  const int size = library.max_threads();
  if (size < 2 || static_cast<std::size_t>(size) < num_threads) return false;
  thread_local int most_started = 0;
  if (size > most_started) {
    if (!threads_start(size)) return false;
    most_started = size;
  }
  library.parallel(run, data, /*num_threads=*/0, /*flags=*/0);  // 0: as many as torch takes
  return true;
}

}  // namespace hybrid_fast
