#include "server/completions/admission_line.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "server/util/status_details.h"

namespace olmoe::completions {
namespace {

constexpr absl::Duration kRetryDelay = absl::Seconds(5);

absl::Status Exhausted(const char* why) {
  return WithRetryDelay(absl::ResourceExhaustedError(why), kRetryDelay);
}

absl::Status ServerEnds() {
  return WithRetryDelay(absl::UnavailableError("the server is draining"), kRetryDelay);
}

}  // namespace

AdmissionLine::AdmissionLine(Options options) : options_(options), thread_([this] { Loop(); }) {}

AdmissionLine::~AdmissionLine() { Stop(); }

void AdmissionLine::Stop() {
  Shut();
  absl::call_once(stopped_, [this] {
    {
      absl::MutexLock lock(&mu_);
      stopping_ = true;
    }
    thread_.join();
  });
}

uint64_t AdmissionLine::TakeTicket() {
  absl::MutexLock lock(&mu_);
  ++num_tickets_;
  return next_ticket_++;
}

absl::Status AdmissionLine::Join(std::shared_ptr<Waiter> waiter, const Wish& wish, bool has_place) {
  const absl::Time deadline = waiter->WaitsUntil();
  absl::MutexLock lock(&mu_);
  if (shut_) return ServerEnds();
  if (!has_place && waiting_.size() >= options_.max_waiting) {
    return Exhausted("too many calls wait already");
  }
  waiting_[wish.ticket] = {
      .waiter = std::move(waiter), .client = wish.client, .deadline = deadline};
  woken_ = true;
  return absl::OkStatus();
}

bool AdmissionLine::Leave(uint64_t ticket) {
  std::shared_ptr<Waiter> left;  // goes without the lock
  absl::MutexLock lock(&mu_);
  if (ticket == entering_) left_ = true;
  const auto found = waiting_.find(ticket);
  if (found == waiting_.end()) return false;
  left = std::move(found->second.waiter);
  waiting_.erase(found);
  return true;
}

bool AdmissionLine::HasPlace(const std::string& client) const {
  absl::MutexLock lock(&mu_);
  if (num_places_ >= options_.max_places) return false;
  const auto places = places_.find(client);
  if (client.empty() || places == places_.end()) return true;
  return places->second < options_.max_places - options_.max_places / 4;
}

void AdmissionLine::TakePlace(const std::string& client) {
  absl::MutexLock lock(&mu_);
  ++num_places_;
  ++places_[client];
}

void AdmissionLine::ReturnTicket(const std::string& client, bool has_place) {
  absl::MutexLock lock(&mu_);
  --num_tickets_;
  if (!has_place) return;
  --num_places_;
  if (const auto places = places_.find(client); --places->second == 0) places_.erase(places);
  woken_ = true;
}

void AdmissionLine::AwaitNone() const {
  const auto none = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return num_tickets_ == 0; };
  absl::MutexLock lock(&mu_, absl::Condition(&none));
}

void AdmissionLine::Wake() {
  absl::MutexLock lock(&mu_);
  woken_ = woken_ || !waiting_.empty() || entering_ != 0;
}

void AdmissionLine::Shut() {
  absl::MutexLock lock(&mu_);
  shut_ = true;
  woken_ = true;
}

size_t AdmissionLine::num_waiting() const {
  absl::MutexLock lock(&mu_);
  return waiting_.size() + (entering_ == 0 ? 0 : 1);
}

void AdmissionLine::Sleep() {
  absl::Time until = absl::InfiniteFuture();
  for (const auto& [ticket, entry] : waiting_) {
    if (entry.was_tried) until = std::min(until, entry.deadline);
  }
  mu_.AwaitWithDeadline(absl::Condition(this, &AdmissionLine::HasWork), until);
  woken_ = false;
}

void AdmissionLine::Loop() {
  while (true) {
    bool shut = false;
    {
      absl::MutexLock lock(&mu_);
      Sleep();
      shut = shut_;
      if (stopping_ && waiting_.empty()) return;
    }
    if (!shut) LetIn();
    TurnAway(shut);
  }
}

void AdmissionLine::TurnAway(bool all) {
  std::vector<std::shared_ptr<Waiter>> turned_away;
  {
    absl::MutexLock lock(&mu_);
    const absl::Time now = absl::Now();
    for (auto entry = waiting_.begin(); entry != waiting_.end();) {
      if (!all && (!entry->second.was_tried || entry->second.deadline > now)) {
        ++entry;
        continue;
      }
      turned_away.push_back(std::move(entry->second.waiter));
      entry = waiting_.erase(entry);
    }
  }
  const absl::Status status = all ? ServerEnds() : Exhausted("the queue stayed full");
  for (const auto& waiter : turned_away) waiter->OnTurnedAway(status);
}

bool AdmissionLine::TakeNext(const std::set<std::string>& blocked, uint64_t* ticket, Entry* entry) {
  absl::MutexLock lock(&mu_);
  auto next = waiting_.lower_bound(*ticket);
  while (next != waiting_.end() && blocked.contains(next->second.client)) ++next;
  if (next == waiting_.end()) return false;
  *ticket = entering_ = next->first;
  left_ = false;
  *entry = std::move(next->second);
  waiting_.erase(next);
  return true;
}

void AdmissionLine::LetIn() {
  std::set<std::string> blocked;  // clients
  for (uint64_t ticket = 0;; ++ticket) {
    Entry entry;  // may be the last to have its waiter, which goes without the lock
    if (!TakeNext(blocked, &ticket, &entry)) return;
    const bool entered = entry.waiter->TryEnter();
    const absl::Time deadline = entry.waiter->WaitsUntil();
    if (!entered) blocked.insert(entry.client);
    absl::MutexLock lock(&mu_);
    if (!entered) waiting_[ticket] = {entry.waiter, entry.client, deadline, /*was_tried=*/true};
    woken_ = woken_ || left_;  // it notices that it has ended
    entering_ = 0;
    left_ = false;
  }
}

}  // namespace olmoe::completions
