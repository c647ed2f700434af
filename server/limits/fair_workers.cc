#include "server/limits/fair_workers.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "server/util/status_details.h"

// Who owns a piece of work decides what becomes of it, so one of `run` and `refuse` is called
// whatever happens at once: it is in the queue, and a worker, a cancellation or the destructor
// takes it out of there under the mutex. A stop callback that comes too early or too late finds
// nothing. Destroying a stop callback waits for it where it is running, so nothing that waits
// is destroyed with the mutex held.

namespace olmoe::limits {
namespace {

// About the time that a large request takes.
constexpr absl::Duration kRetryDelay = absl::Seconds(1);

absl::Status Full(const char* whose) {
  return WithRetryDelay(
      absl::ResourceExhaustedError(std::string("too many large requests of ") + whose + " wait"),
      kRetryDelay);
}

}  // namespace

FairWorkers::FairWorkers(Options options) : options_(options) {
  try {
    for (int i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { Loop(); });
  } catch (...) {  // no more threads: those that there are have to end
    End();
    throw;
  }
}

FairWorkers::~FairWorkers() { End(); }

void FairWorkers::End() {
  std::vector<WaitingPtr> refused;
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    for (auto& [name, client] : clients_) {
      std::move(client.waiting.begin(), client.waiting.end(), std::back_inserter(refused));
      client.waiting.clear();
    }
  }
  for (const WaitingPtr& waiting : refused) {
    waiting->work.refuse(absl::UnavailableError("the server is shutting down"));
  }
  for (std::thread& thread : threads_) thread.join();
}

void FairWorkers::Run(Work work) {
  auto waiting = std::make_unique<Waiting>();
  waiting->work = std::move(work);
  waiting->on_stop.emplace(waiting->work.interrupt.stop,
                           [this, cancelled = waiting.get()] { Cancel(cancelled); });
  absl::Status status;
  {
    absl::MutexLock lock(&mu_);
    status = Enqueue(&waiting);
  }
  if (!status.ok()) waiting->work.refuse(status);
}

size_t FairWorkers::num_waiting() const {
  absl::MutexLock lock(&mu_);
  return num_waiting_;
}

absl::Status FairWorkers::Enqueue(WaitingPtr* waiting) {
  const Work& work = (*waiting)->work;
  // A stop that is requested after this look finds the work in the queue.
  if (absl::Status status = work.interrupt.Check(); !status.ok()) return status;
  if (stopping_) return absl::UnavailableError("the server is shutting down");
  if (num_waiting_ >= options_.max_waiting) return Full("all clients");
  const auto known = clients_.find(work.client);
  if (known != clients_.end() && known->second.waiting.size() >= options_.max_waiting_per_client) {
    return Full("this client");
  }
  Client& client = clients_[work.client];
  if (client.waiting.empty() && !client.running) turns_.push_back(work.client);
  client.waiting.push_back(std::move(*waiting));
  ++num_waiting_;
  return absl::OkStatus();
}

FairWorkers::WaitingPtr FairWorkers::Remove(const Waiting* waiting) {
  for (auto client = clients_.begin(); client != clients_.end(); ++client) {
    std::list<WaitingPtr>& queue = client->second.waiting;
    const auto found = std::find_if(queue.begin(), queue.end(), [waiting](const WaitingPtr& entry) {
      return entry.get() == waiting;
    });
    if (found == queue.end()) continue;
    WaitingPtr removed = std::move(*found);
    queue.erase(found);
    --num_waiting_;
    if (queue.empty() && !client->second.running) {
      turns_.erase(std::find(turns_.begin(), turns_.end(), client->first));
      clients_.erase(client);
    }
    return removed;
  }
  return nullptr;
}

void FairWorkers::Cancel(const Waiting* cancelled) {
  WaitingPtr removed;
  {
    absl::MutexLock lock(&mu_);
    removed = Remove(cancelled);
  }
  if (removed != nullptr) removed->work.refuse(removed->work.interrupt.Check());
}

FairWorkers::WaitingPtr FairWorkers::Take() {
  const auto ready = [this]()
                         ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stopping_ || !turns_.empty(); };
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(&ready));
  if (stopping_) return nullptr;
  Client& client = clients_[turns_.front()];
  turns_.pop_front();
  WaitingPtr taken = std::move(client.waiting.front());
  client.waiting.pop_front();
  client.running = true;
  --num_waiting_;
  return taken;
}

void FairWorkers::EndTurn(const std::string& client) {
  absl::MutexLock lock(&mu_);
  const auto found = clients_.find(client);
  found->second.running = false;
  if (found->second.waiting.empty()) {
    clients_.erase(found);
  } else {
    turns_.push_back(client);
  }
}

void FairWorkers::Loop() {
  while (const WaitingPtr taken = Take()) {
    taken->on_stop.reset();
    const Work& work = taken->work;
    const absl::Status status = work.interrupt.Check();
    if (status.ok()) {
      work.run();
    } else {
      work.refuse(status);
    }
    EndTurn(work.client);
  }
}

}  // namespace olmoe::limits
