// Work that throws, and threads that cannot start.
#include "core/parallel.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <new>
#include <string>
#include <system_error>

#include "check.h"

namespace hybrid_fast {
namespace {

// Whether work(i) runs once for each i.
bool does_all(std::size_t count, std::size_t num_threads) {
  std::vector<std::atomic<int>> calls(count);
  parallel_for(count, num_threads, [&](std::size_t i) { ++calls[i]; });
  return std::all_of(calls.begin(), calls.end(), [](const auto& n) { return n == 1; });
}

void test_every_piece_once() {
  for (const std::size_t count : {0, 1, 2, 7, 1000}) {
    for (const std::size_t num_threads : {0, 1, 2, 9, 64}) CHECK(does_all(count, num_threads));
  }
}

void test_what_work_throws_comes_out_after_all_threads() {
  for (const std::size_t num_threads : {1, 2, 8}) {
    for (const std::size_t bad : {0, 5, 999}) {
      std::atomic<int> running = 0;
      std::string what;
      try {
        parallel_for(1000, num_threads, [&](std::size_t i) {
          ++running;
          if (i == bad) {
            --running;
            throw std::runtime_error("piece " + std::to_string(i));
          }
          --running;
        });
      } catch (const std::runtime_error& error) {
        what = error.what();
        CHECK(running == 0);
      }
      CHECK(what == "piece " + std::to_string(bad));
    }
  }
}

void test_one_of_many_exceptions_comes_out() {
  for (int round = 0; round < 20; ++round) {
    CHECK_THROWS(parallel_for(100, 8, [](std::size_t) { throw std::bad_alloc(); }), std::bad_alloc);
  }
  CHECK(does_all(100, 8));  // and nothing of it stays
}

void test_the_rest_is_not_begun() {
  std::atomic<std::size_t> begun = 0;
  CHECK_THROWS(parallel_for(1'000'000, 4,
                            [&](std::size_t) {
                              ++begun;
                              throw 1;
                            }),
               int);
  CHECK(begun <= 4);
}

void test_number_of_threads() {
  CHECK(threads_for(0, 8) == 1);
  CHECK(threads_for(std::int64_t{1} << 40, 8) == 8);
  for (const int num_threads : {0, -1}) {
    CHECK_THROWS(threads_for(10, num_threads), std::invalid_argument);
  }
}

// Last, since the limit stays. It does not count for root, who becomes somebody else.
void test_threads_that_cannot_start() {
  if (geteuid() == 0 && setuid(65534) != 0) return;
  const rlimit none{0, 0};
  CHECK(setrlimit(RLIMIT_NPROC, &none) == 0);
  try {
    std::thread([] {}).join();
    std::puts("this system does not limit threads: not tested");
  } catch (const std::system_error&) {
    CHECK(does_all(1000, 8));
    CHECK_THROWS(parallel_for(9, 8, [](std::size_t) { throw std::bad_alloc(); }), std::bad_alloc);
  }
}

}  // namespace
}  // namespace hybrid_fast

int main() {
  using namespace hybrid_fast;
  test_every_piece_once();
  test_what_work_throws_comes_out_after_all_threads();
  test_one_of_many_exceptions_comes_out();
  test_the_rest_is_not_begun();
  test_number_of_threads();
  test_threads_that_cannot_start();
  _exit(0);  // a search for leaks would need a thread
}
