#include "server/limits/receipts.h"

#include <algorithm>
#include <utility>

#include "server/util/status_details.h"

namespace olmoe::limits {
namespace {

absl::Status NoMemory() {
  return WithRetryDelay(
      absl::ResourceExhaustedError("the memory for requests is in use (--max-request-memory)"),
      absl::Seconds(1));
}

absl::Status TooSlow() {
  return WithRetryDelay(
      absl::ResourceExhaustedError("the message took so long that others had to wait for it"),
      absl::Seconds(1));
}

absl::Status ShuttingDown() {
  return WithRetryDelay(absl::UnavailableError("the server is shutting down"), absl::Seconds(1));
}

}  // namespace

void Receipts::Ask(std::shared_ptr<Receiver> receiver, Wish wish) {
  {
    absl::MutexLock lock(&mu_);
    std::deque<Entry>& line = waiting_[wish.client];
    if (line.empty()) order_.push_back(wish.client);
    line.push_back({std::move(receiver), std::move(wish)});
  }
  Pump();
}

bool Receipts::Received(const Receiver* receiver, int64_t bytes) {
  Entry entry;
  {
    absl::MutexLock lock(&mu_);
    const auto turn = std::find_if(turns_.begin(), turns_.end(), [receiver](const Entry& one) {
      return one.receiver.get() == receiver;
    });
    if (turn == turns_.end()) return false;
    entry = std::move(*turn);
    turns_.erase(turn);
  }
  entry.wish.hold->Set(entry.bytes_before + bytes);
  if (anybody_waits()) Pump();
  return true;
}

bool Receipts::Withdraw(const Receiver* receiver) {
  Entry entry;  // outlives the lock: it may be the last to know the receiver
  absl::MutexLock lock(&mu_);
  const auto is_it = [receiver](const Entry& one) { return one.receiver.get() == receiver; };
  if (const auto turn = std::find_if(turns_.begin(), turns_.end(), is_it); turn != turns_.end()) {
    entry = std::move(*turn);
    turns_.erase(turn);
    ending_.push_back(receiver);
    return true;
  }
  for (auto client = waiting_.begin(); client != waiting_.end(); ++client) {
    std::deque<Entry>& line = client->second;
    const auto place = std::find_if(line.begin(), line.end(), is_it);
    if (place == line.end()) continue;
    entry = std::move(*place);
    line.erase(place);
    if (line.empty()) {
      order_.erase(std::find(order_.begin(), order_.end(), client->first));
      waiting_.erase(client);
    }
    return true;
  }
  return false;
}

void Receipts::Close(const Receiver* receiver) {
  {
    absl::MutexLock lock(&mu_);
    std::erase(ending_, receiver);
  }
  if (anybody_waits()) Pump();
}

bool Receipts::anybody_waits() const {
  absl::MutexLock lock(&mu_);
  return !waiting_.empty();
}

void Receipts::Pump() {
  std::vector<Entry> begun, dropped;
  {
    absl::MutexLock lock(&mu_);
    while (!shut_ && BeginOne(&begun)) {
    }
    if (shut_) {
      DropTurns(/*all=*/true, ShuttingDown(), &dropped);
      DropWaiting([](const Entry&) { return true; }, ShuttingDown(), &dropped);
    } else if (!waiting_.empty()) {
      DropTurns(/*all=*/false, TooSlow(), &dropped);
      if (turns_.empty() && ending_.empty()) {
        DropWaiting([](const Entry& one) { return one.wish.refuse; }, NoMemory(), &dropped);
      }
    }
  }
  for (Entry& entry : begun) entry.receiver->OnTurn();
  for (Entry& entry : dropped) entry.receiver->OnDropped(entry.why);
}

void Receipts::Shut() {
  {
    absl::MutexLock lock(&mu_);
    shut_ = true;
  }
  Pump();
}

// The first client in order for whom there is memory.
bool Receipts::BeginOne(std::vector<Entry>* begun) {
  if (turns_.size() + ending_.size() >= options_.max_turns) return false;
  for (size_t i = 0; i < order_.size(); ++i) {
    const std::string client = order_[i];
    std::deque<Entry>& line = waiting_.at(client);
    Entry& next = line.back();
    const int64_t before = next.wish.hold->bytes();
    if (!next.wish.hold->Resize(before + options_.max_message_bytes, options_.reserve_bytes).ok()) {
      continue;
    }
    next.bytes_before = before;
    next.since = options_.now();
    begun->push_back(next);
    turns_.push_back(std::move(next));
    line.pop_back();
    order_.erase(order_.begin() + static_cast<ptrdiff_t>(i));
    if (line.empty()) {
      waiting_.erase(client);
    } else {
      order_.push_back(client);
    }
    return true;
  }
  return false;
}

void Receipts::DropTurns(bool all, const absl::Status& why, std::vector<Entry>* dropped) {
  const absl::Time now = options_.now();
  for (auto turn = turns_.begin(); turn != turns_.end();) {
    if (!all && now - turn->since <= turn->wish.patience) {
      ++turn;
      continue;
    }
    ending_.push_back(turn->receiver.get());
    turn->why = why;
    dropped->push_back(std::move(*turn));
    turn = turns_.erase(turn);
  }
}

void Receipts::DropWaiting(absl::FunctionRef<bool(const Entry&)> leaves, const absl::Status& why,
                           std::vector<Entry>* dropped) {
  for (auto client = waiting_.begin(); client != waiting_.end();) {
    std::deque<Entry>& line = client->second;
    const auto leaving = std::stable_partition(line.begin(), line.end(),
                                               [leaves](const Entry& one) { return !leaves(one); });
    for (auto entry = leaving; entry != line.end(); ++entry) {
      entry->why = why;
      dropped->push_back(std::move(*entry));
    }
    line.erase(leaving, line.end());
    if (line.empty()) {
      order_.erase(std::find(order_.begin(), order_.end(), client->first));
      client = waiting_.erase(client);
    } else {
      ++client;
    }
  }
}

}  // namespace olmoe::limits
