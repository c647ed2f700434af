#include "server/routing/plan_slot.h"

#include <chrono>
#include <iterator>
#include <utility>

#include "glog/logging.h"

namespace olmoe::routing {

PlanPin::PlanPin(PlanSlot* slot, std::shared_ptr<const RoutingPlan> plan)
    : slot_(slot), plan_(std::move(plan)) {}

PlanPin::PlanPin(PlanPin&& other) noexcept
    : slot_(std::exchange(other.slot_, nullptr)), plan_(std::exchange(other.plan_, nullptr)) {}

PlanPin& PlanPin::operator=(PlanPin&& other) noexcept {
  if (this != &other) {
    Release();
    slot_ = std::exchange(other.slot_, nullptr);
    plan_ = std::exchange(other.plan_, nullptr);
  }
  return *this;
}

PlanPin PlanPin::Again() const {
  slot_->PinAgain(plan_->generation());
  return PlanPin(slot_, plan_);
}

void PlanPin::Release() {
  if (plan_ == nullptr) return;
  // The plan outlives Unpin here and is destroyed, if this is the last reference,
  // by the reset below: never under the slot's mutex.
  slot_->Unpin(plan_->generation());
  slot_ = nullptr;
  plan_.reset();
}

PlanSlot::PlanSlot(std::shared_ptr<const RoutingPlan> first, std::function<void()> on_drained)
    : on_drained_(std::move(on_drained)), current_(std::move(first)) {
  CHECK(current_ != nullptr);
  plans_[current_->generation()] = {current_, 0};
}

PlanSlot::~PlanSlot() {
  absl::MutexLock lock(&mu_);
  for (const auto& [generation, entry] : plans_) {
    CHECK_EQ(entry.in_flight, 0) << "generation " << generation << " is still pinned";
  }
}

PlanPin PlanSlot::Pin() {
  absl::MutexLock lock(&mu_);
  ++plans_.rbegin()->second.in_flight;
  return PlanPin(this, current_);
}

void PlanSlot::PinAgain(uint64_t generation) {
  absl::MutexLock lock(&mu_);
  ++plans_.at(generation).in_flight;
}

std::shared_ptr<const RoutingPlan> PlanSlot::Current() const {
  absl::MutexLock lock(&mu_);
  return current_;
}

PlanSlot::Swap PlanSlot::Publish(std::shared_ptr<const RoutingPlan> next) {
  CHECK(next != nullptr);
  const uint64_t generation = next->generation();
  // Allocated before the lock is taken, and freed after it is released.
  std::map<uint64_t, DrainingPlan> added;
  added[generation] = {next, 0};
  std::map<uint64_t, DrainingPlan>::node_type drained;

  Swap swap;
  absl::MutexLock lock(&mu_);
  const auto start = std::chrono::steady_clock::now();
  CHECK_GT(generation, current_->generation()) << "generations never go back";
  const auto previous = std::prev(plans_.end());
  swap.in_flight_on_previous = previous->second.in_flight;
  plans_.merge(added);
  if (swap.in_flight_on_previous == 0) drained = plans_.extract(previous);
  swap.previous = std::exchange(current_, std::move(next));
  swap.admission_blocked = absl::FromChrono(std::chrono::steady_clock::now() - start);
  return swap;
}

std::vector<DrainingPlan> PlanSlot::Draining() const {
  absl::MutexLock lock(&mu_);
  std::vector<DrainingPlan> draining;
  for (auto entry = std::next(plans_.rbegin()); entry != plans_.rend(); ++entry) {
    draining.push_back(entry->second);
  }
  return draining;
}

int64_t PlanSlot::InFlight(uint64_t generation) const {
  absl::MutexLock lock(&mu_);
  const auto found = plans_.find(generation);
  return found == plans_.end() ? 0 : found->second.in_flight;
}

bool PlanSlot::AwaitDrainBefore(uint64_t generation, absl::Time deadline) const {
  const auto drained = [this, generation]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    const auto& [oldest, entry] = *plans_.begin();
    return oldest >= generation || entry.in_flight == 0;
  };
  absl::MutexLock lock(&mu_);
  return mu_.AwaitWithDeadline(absl::Condition(&drained), deadline);
}

void PlanSlot::Unpin(uint64_t generation) {
  std::map<uint64_t, DrainingPlan>::node_type drained;  // freed after the lock is released
  {
    absl::MutexLock lock(&mu_);
    const auto entry = plans_.find(generation);
    CHECK(entry != plans_.end() && entry->second.in_flight > 0);
    --entry->second.in_flight;
    if (entry->second.in_flight == 0 && entry->second.plan != current_) {
      drained = plans_.extract(entry);
    }
  }
  if (!drained.empty() && on_drained_) on_drained_();
}

}  // namespace olmoe::routing
