#include "server/ops/cpu/compute_pool.h"

#include <pthread.h>

#include <chrono>

namespace olmoe::ops {
namespace {

constexpr std::chrono::microseconds kSpin{40};
constexpr uint64_t kTasksMask = 0xffffffff;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Looks for up to kSpin; the clock is asked now and then only.
template <typename Condition>
bool SpinUntil(const Condition& condition) {
  constexpr int kLooksPerClock = 32;
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kLooksPerClock; ++i) {
      if (condition()) return true;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

ComputePool::ComputePool(int threads) {
  workers_.reserve(static_cast<size_t>(threads - 1));
  try {
    for (int worker = 1; worker < threads; ++worker) {
      workers_.emplace_back([this, worker] { Work(worker); });
    }
  } catch (...) {  // no more threads: those that there are have to end
    End();
    throw;
  }
}

ComputePool::~ComputePool() { End(); }

void ComputePool::End() {
  end_.store(true);
  wakes_.fetch_add(1);
  wakes_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ComputePool::Run(int n, Task task, void* context) {
  if (n <= 0) return;
  if (n == 1 || workers_.empty()) {
    for (int i = 0; i < n; ++i) task(context, i, 0);
    return;
  }
  task_ = task;
  context_ = context;
  tasks_ = static_cast<uint32_t>(n);
  done_.store(0, std::memory_order_relaxed);
  const uint64_t phase = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
  // Sequentially consistent with `sleeping_`: either this sees the sleeper, or the
  // sleeper sees the tasks.
  ticket_.store(phase << 32 | static_cast<uint64_t>(n));
  if (sleeping_.load() > 0) {
    wakes_.fetch_add(1);
    wakes_.notify_all();
  }
  while (TakeAndDo(0)) {
  }
  WaitForWorkers(static_cast<uint32_t>(n));
}

bool ComputePool::TakeAndDo(int worker) {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  do {
    if ((ticket & kTasksMask) == 0) return false;
  } while (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                          std::memory_order_acquire));
  const uint32_t tasks = tasks_;
  task_(context_, static_cast<int>(tasks - static_cast<uint32_t>(ticket & kTasksMask)), worker);
  const bool last = done_.fetch_add(1, std::memory_order_acq_rel) + 1 == tasks;
  if (last && worker != 0) done_.notify_one();
  return true;
}

void ComputePool::WaitForWorkers(uint32_t n) {
  const auto done = [&] { return done_.load(std::memory_order_acquire) == n; };
  if (SpinUntil(done)) return;
  for (uint32_t seen = done_.load(); seen != n; seen = done_.load()) done_.wait(seen);
}

void ComputePool::Work(int worker) {
  pthread_setname_np(pthread_self(), "compute");
  do {
    while (TakeAndDo(worker)) {
    }
  } while (WaitForTasks());
}

bool ComputePool::WaitForTasks() {
  const auto wanted = [&] {
    return (ticket_.load() & kTasksMask) != 0 || end_.load(std::memory_order_relaxed);
  };
  if (!SpinUntil(wanted)) {
    sleeping_.fetch_add(1);
    for (uint32_t seen = wakes_.load(); !wanted(); seen = wakes_.load()) wakes_.wait(seen);
    sleeping_.fetch_sub(1);
  }
  return !end_.load();
}

}  // namespace olmoe::ops
