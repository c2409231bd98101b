#include "core/parallel.h"

#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <new>
#include <vector>

namespace hybrid_fast {
namespace {

class Helpers {
 public:
  void run(std::size_t num_helpers, const std::function<void()>& work) {
    Call call{&work, num_helpers};
    const bool offered = offer(call);
    work();
    if (offered) withdraw(call);
  }

 private:
  // Work on the caller's stack, which must outlive those who do it.
  struct Call {
    const std::function<void()>* work;
    std::size_t wanted;  // helpers that may still begin
    std::size_t running = 0;
    std::condition_variable returned = {};
  };

  // Whether others may have begun with it.
  bool offer(Call& call) {
    const std::size_t wanted = call.wanted;
    try {
      const std::lock_guard lock(mutex_);
      calls_.push_back(&call);
      num_wanted_ += wanted;
      start_missing();
    } catch (const std::exception&) {  // no memory for the list
      return false;
    }
    for (std::size_t i = 0; i < wanted; ++i) offered_.notify_one();
    return true;
  }

  // Threads are as many as the calls that run at once want.
  void start_missing() {
    try {
      for (; num_idle_ < num_wanted_; ++num_idle_) std::thread([this] { help(); }).detach();
    } catch (const std::exception&) {  // a limit of threads, or no memory for one
    }
  }

  void withdraw(Call& call) {
    std::unique_lock lock(mutex_);
    num_wanted_ -= call.wanted;
    std::erase(calls_, &call);
    call.returned.wait(lock, [&] { return call.running == 0; });
  }

  [[noreturn]] void help() {
    std::unique_lock lock(mutex_);
    while (true) {
      offered_.wait(lock, [&] { return !calls_.empty(); });
      Call& call = *calls_.front();
      --num_wanted_;
      if (--call.wanted == 0) calls_.erase(calls_.begin());
      --num_idle_;
      ++call.running;
      lock.unlock();
      (*call.work)();
      lock.lock();
      ++num_idle_;
      // Under the lock: the caller ends the call as soon as it sees this.
      if (--call.running == 0) call.returned.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable offered_;
  std::vector<Call*> calls_;    // that want helpers
  std::size_t num_wanted_ = 0;  // by all of them
  std::size_t num_idle_ = 0;    // threads
};

// Never destroyed: its threads sleep until the process ends.
std::atomic<Helpers*> helpers = nullptr;

// A forked process has none of the threads, and perhaps a lock that one of them held.
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { helpers = nullptr; });

// Null without memory for it.
Helpers* helpers_of_process() {
  Helpers* known = helpers;
  if (known != nullptr) return known;
  auto* made = new (std::nothrow) Helpers;
  if (made == nullptr || helpers.compare_exchange_strong(known, made)) return made;
  delete made;
  return known;
}

}  // namespace

void run_with_helpers(std::size_t num_helpers, const std::function<void()>& work) {
  Helpers* others = num_helpers == 0 ? nullptr : helpers_of_process();
  if (others == nullptr) return work();
  others->run(num_helpers, work);
}

}  // namespace hybrid_fast
