// Work on the threads of OpenMP, where the system has one, and on our own where it does not.
#include "core/team.h"

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <new>
#include <string_view>

#include "check.h"

namespace hybrid_fast {
namespace {

// Whether work(i) runs once for each i.
bool does_all(std::size_t count, std::int64_t size, int num_threads) {
  std::vector<std::atomic<int>> calls(count);
  parallel_for_in_team(count, size, num_threads, [&](std::size_t i) { ++calls[i]; });
  return std::all_of(calls.begin(), calls.end(), [](const auto& n) { return n == 1; });
}

void test_every_piece_once() {
  for (const std::size_t count : {0, 1, 2, 7, 1000}) {
    for (const std::int64_t size : {0, 1 << 30}) {
      for (const int num_threads : {1, 2, 9}) CHECK(does_all(count, size, num_threads));
    }
  }
}

void test_what_work_throws_comes_out() {
  for (int round = 0; round < 20; ++round) {
    CHECK_THROWS(parallel_for_in_team(100, 1 << 30, 3, [](std::size_t) { throw std::bad_alloc(); }),
                 std::bad_alloc);
  }
  CHECK_THROWS(parallel_for_in_team(3, 1, 0, [](std::size_t) {}), std::invalid_argument);
}

// A team within a team, which OpenMP gives fewer threads than were asked for.
void test_work_within_work() {
  std::atomic<int> failed = 0;
  parallel_for_in_team(5, 1 << 30, 3, [&](std::size_t) { failed += !does_all(50, 1 << 30, 4); });
  CHECK(failed == 0);
}

// As several threads of Python do.
void test_several_callers_at_once() {
  std::atomic<int> failed = 0;
  parallel_for(4, 4, [&](std::size_t) {
    for (int round = 0; round < 20; ++round) failed += !does_all(50, 1 << 30, 3);
  });
  CHECK(failed == 0);
}

// Its threads are not those of the process that it was forked from.
void test_a_forked_process() {
  const pid_t child = fork();
  if (child == 0) {
    const bool in_team = run_in_team([](void*) {}, nullptr, 2);
    _exit(!in_team && does_all(1000, 1 << 30, 2) ? 0 : 1);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

void test_a_team_where_openmp_is_loaded(bool loaded) {
  std::atomic<int> calls = 0;
  const auto count = [](void* data) { ++*static_cast<std::atomic<int>*>(data); };
#ifdef HYBRID_FAST_CHECKS_RACES
  loaded = false;
#endif
  CHECK(run_in_team(count, &calls, 2) == loaded);
  CHECK(loaded ? calls == 1 || calls == 2 : calls == 0);  // OpenMP may give fewer
}

}  // namespace
}  // namespace hybrid_fast

int main(int argc, char** argv) {
  using namespace hybrid_fast;
  const bool without = argc == 2 && std::string_view(argv[1]) == "without";
  const bool loaded = !without && dlopen("libgomp.so.1", RTLD_NOW | RTLD_GLOBAL) != nullptr;
  if (!without && !loaded) std::puts("this system has no libgomp: not tested");
  test_a_team_where_openmp_is_loaded(loaded);
  test_every_piece_once();
  test_what_work_throws_comes_out();
  test_work_within_work();
  test_several_callers_at_once();
  test_a_forked_process();
}
