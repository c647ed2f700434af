#ifndef OLMOE_SERVER_OPS_CPU_COMPUTE_POOL_H_
#define OLMOE_SERVER_OPS_CPU_COMPUTE_POOL_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace olmoe::ops {

// The threads of the compute. The thread that calls Run is worker 0; the pool has the
// others. A phase is `n` independent tasks handed out one by one, in order, to whoever is
// free; Run returns when all are done, and what they wrote is then visible to the caller.
//
// Phases follow each other within microseconds while a step runs, and not at all between
// requests. So a worker without a task looks for one for kSpin and then sleeps until
// the next phase: on a machine of two cores an endless spin would take the core that the
// network needs, and idling must cost nothing. Nobody waits for a worker that has no
// task: a phase that the caller has done alone is done.
//
// How: one 64-bit word, the ticket, holds the number of the phase and how many tasks are
// left to hand out. Whoever lowers it from r to r - 1 owns task n - r of that phase. The
// phase cannot end before that task is done, so its owner may read what describes the
// phase after it has won, and a worker that comes late wins nothing or a task of the
// phase that the word then names. Cost of a phase: one store, a wake-up if somebody
// sleeps, and a compare-exchange a task. compute_pool_test.cc tests it, also under
// ThreadSanitizer.
//
// Run is called by one thread at a time, and not from a task. Tasks do not throw.
class ComputePool {
 public:
  using Task = void (*)(void* context, int task, int worker);

  explicit ComputePool(int threads);  // 1 or more, the caller's included
  ~ComputePool();
  ComputePool(const ComputePool&) = delete;
  ComputePool& operator=(const ComputePool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  void Run(int n, Task task, void* context);

  // task(i) or task(i, worker) for 0 <= i < n; worker < threads().
  template <typename F>
  void Run(int n, const F& task) {
    Run(
        n,
        [](void* context, int i, int worker) {
          const F& call = *static_cast<const F*>(context);
          if constexpr (requires { call(i, worker); }) {
            call(i, worker);
          } else {
            call(i);
          }
        },
        const_cast<void*>(static_cast<const void*>(&task)));
  }

  int sleeping_for_testing() const { return sleeping_.load(); }

 private:
  void End();  // and joins
  void Work(int worker);
  bool TakeAndDo(int worker);      // false: no task is left
  bool WaitForTasks();             // false: the pool ends
  void WaitForWorkers(uint32_t n);

  // What the current phase is; written by the caller while no task is handed out.
  Task task_ = nullptr;
  void* context_ = nullptr;
  uint32_t tasks_ = 0;

  alignas(64) std::atomic<uint64_t> ticket_{0};  // phase << 32 | tasks to hand out
  alignas(64) std::atomic<uint32_t> done_{0};    // tasks of the phase
  alignas(64) std::atomic<uint32_t> wakes_{0};   // what sleepers wait for a change of
  std::atomic<int> sleeping_{0};
  std::atomic<bool> end_{false};

  std::vector<std::thread> workers_;
};

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_COMPUTE_POOL_H_
