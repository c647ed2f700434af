#ifndef OLMOE_SERVER_ROUTING_PLAN_SLOT_H_
#define OLMOE_SERVER_ROUTING_PLAN_SLOT_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/routing/plan.h"

namespace olmoe::routing {

class PlanSlot;

// A request's hold on the plan it was admitted with: the plan stays what it is
// until the pin is gone, and the slot counts it as in flight. Move-only; the slot
// must outlive it. Thread-compatible.
class PlanPin {
 public:
  PlanPin() = default;
  ~PlanPin() { Release(); }
  PlanPin(PlanPin&& other) noexcept;
  PlanPin& operator=(PlanPin&& other) noexcept;

  const RoutingPlan& operator*() const { return *plan_; }
  const RoutingPlan* operator->() const { return plan_.get(); }
  explicit operator bool() const { return plan_ != nullptr; }
  // Another pin of the same plan, be it current or not. REQUIRES: not released.
  PlanPin Again() const;
  void Release();

 private:
  friend class PlanSlot;
  PlanPin(PlanSlot* slot, std::shared_ptr<const RoutingPlan> plan);

  PlanSlot* slot_ = nullptr;
  std::shared_ptr<const RoutingPlan> plan_;
};

// An older plan that requests still hold.
struct DrainingPlan {
  std::shared_ptr<const RoutingPlan> plan;
  int64_t in_flight = 0;
};

// The one place where the current plan lives. A swap is one pointer assignment
// under a mutex that is never held during anything slower, so a request is
// admitted with the old plan or with the new one and never with a mixture.
// Thread-safe.
class PlanSlot {
 public:
  // `on_drained`, which may be empty, is called when the last pin of an older plan is
  // gone, on the thread that released it and without a lock held.
  explicit PlanSlot(std::shared_ptr<const RoutingPlan> first,
                    std::function<void()> on_drained = {});
  ~PlanSlot();  // CHECKs that no pin is left
  PlanSlot(const PlanSlot&) = delete;
  PlanSlot& operator=(const PlanSlot&) = delete;

  // The current plan, counted as in flight until the pin is gone.
  PlanPin Pin();
  // The current plan, not counted.
  std::shared_ptr<const RoutingPlan> Current() const;

  struct Swap {
    std::shared_ptr<const RoutingPlan> previous;
    int64_t in_flight_on_previous = 0;
    absl::Duration admission_blocked;  // how long the mutex was held
  };
  // Makes `next` current. Its generation must be larger than the current one
  // (CHECK): generations never go back.
  Swap Publish(std::shared_ptr<const RoutingPlan> next);

  // Older plans that are still pinned, newest first.
  std::vector<DrainingPlan> Draining() const;
  // Requests pinned to `generation`.
  int64_t InFlight(uint64_t generation) const;
  // Waits until no plan older than `generation` is pinned; false at the deadline.
  bool AwaitDrainBefore(uint64_t generation, absl::Time deadline) const;

 private:
  friend class PlanPin;
  void PinAgain(uint64_t generation);
  void Unpin(uint64_t generation);

  const std::function<void()> on_drained_;
  mutable absl::Mutex mu_;
  std::shared_ptr<const RoutingPlan> current_ ABSL_GUARDED_BY(mu_);
  // By generation; an old plan is erased with its last pin.
  std::map<uint64_t, DrainingPlan> plans_ ABSL_GUARDED_BY(mu_);
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_PLAN_SLOT_H_
