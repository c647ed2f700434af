#include "server/http/connection_table.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace olmoe::http {

ConnectionTable::Member::~Member() {
  if (table_ != nullptr) table_->Forget(this);
}

bool ConnectionTable::Admit(Member* member, const std::string& client) {
  const auto theirs = of_client_.find(client);
  const bool too_many_of_client = !client.empty() && theirs != of_client_.end() &&
                                  theirs->second >= limits_.max_connections_per_client;
  if (too_many_of_client || size() >= limits_.max_connections) {
    Member* victim = too_many_of_client ? VictimOf(client) : VictimOfMost();
    if (victim == nullptr) return false;
    Close(victim);
  }
  member->place_ = order_.insert(order_.end(), member);
  ++of_client_[client];
  member->client_ = client;
  member->table_ = this;
  Begin(member, Phase::kIdle);
  return true;
}

ConnectionTable::Clock::duration ConnectionTable::TimeOf(Phase phase) const {
  switch (phase) {
    case Phase::kHandshake: return limits_.handshake;
    case Phase::kIdle: return limits_.idle;
    case Phase::kRequest: return limits_.request;
    case Phase::kWriting: return limits_.answer;
    case Phase::kLinger: return limits_.linger;
    case Phase::kHandling: break;
  }
  return std::chrono::hours(24 * 365);
}

void ConnectionTable::Begin(Member* member, Phase phase) {
  if (member->table_ == nullptr) return;
  member->phase_ = phase;
  member->deadline_ = Clock::now() + TimeOf(phase);
  order_.splice(order_.end(), order_, member->place_);
}

bool ConnectionTable::HoldRequest(Member* member, size_t bytes) {
  if (member->table_ == nullptr) return false;
  const size_t others = request_bytes_ - member->request_bytes_;
  if (bytes > 0 && others + bytes > limits_.max_request_bytes) return false;
  request_bytes_ = others + bytes;
  member->request_bytes_ = bytes;
  return true;
}

void ConnectionTable::HoldUnread(Member* member, const Body& body) {
  if (member->table_ == nullptr || body == nullptr) return;
  ReleaseUnread(member);
  if (readers_[body.get()]++ == 0) unread_bytes_ += body->size();
  member->unread_ = body;
  if (limits_.answer_bytes_per_second > 0) {
    member->deadline_ += std::chrono::seconds(body->size() / limits_.answer_bytes_per_second);
  }
  while (unread_bytes_ > limits_.max_unread_bytes) {
    Member* slow = LongestIn(Phase::kWriting, member);
    if (slow == nullptr) return;
    Close(slow);
  }
}

void ConnectionTable::ReleaseUnread(Member* member) {
  const Body body = std::exchange(member->unread_, nullptr);
  if (body == nullptr) return;
  const auto readers = readers_.find(body.get());
  if (--readers->second > 0) return;
  readers_.erase(readers);
  unread_bytes_ -= body->size();
}

ConnectionTable::Member* ConnectionTable::LongestIn(Phase phase, const Member* but) {
  for (Member* member : order_) {
    if (member->phase_ == phase && member != but) return member;
  }
  return nullptr;
}

template <class Eligible>
ConnectionTable::Member* ConnectionTable::Victim(const Eligible& eligible) {
  Member* slow_reader = nullptr;
  for (Member* member : order_) {
    if (member->phase_ == Phase::kHandling || !eligible(*member)) continue;
    if (member->phase_ != Phase::kWriting) return member;
    if (slow_reader == nullptr) slow_reader = member;
  }
  return slow_reader;
}

ConnectionTable::Member* ConnectionTable::VictimOf(const std::string& client) {
  return Victim([&client](const Member& member) { return member.client_ == client; });
}

ConnectionTable::Member* ConnectionTable::VictimOfMost() {
  size_t most = 0;
  for (const auto& [client, count] : of_client_) most = std::max(most, count);
  Member* victim = Victim([this, most](const Member& member) {
    return of_client_.find(member.client_)->second == most;
  });
  return victim != nullptr ? victim : Victim([](const Member&) { return true; });
}

bool ConnectionTable::EvictOne() {
  Member* victim = VictimOfMost();
  if (victim != nullptr) Close(victim);
  return victim != nullptr;
}

void ConnectionTable::CloseOverdue() {
  const Clock::time_point now = Clock::now();
  std::vector<Member*> overdue;
  for (Member* member : order_) {
    if (member->deadline_ <= now) overdue.push_back(member);
  }
  for (Member* member : overdue) Close(member);
}

void ConnectionTable::CloseIdle() {
  std::vector<Member*> idle;
  for (Member* member : order_) {
    const bool answering = member->phase_ == Phase::kHandling || member->phase_ == Phase::kWriting;
    if (!answering) idle.push_back(member);
  }
  for (Member* member : idle) Close(member);
}

void ConnectionTable::CloseAll() {
  while (!order_.empty()) Close(order_.front());
}

void ConnectionTable::Forget(Member* member) {
  ReleaseUnread(member);
  request_bytes_ -= std::exchange(member->request_bytes_, 0);
  const auto theirs = of_client_.find(member->client_);
  if (--theirs->second == 0) of_client_.erase(theirs);
  order_.erase(member->place_);
  member->table_ = nullptr;
}

void ConnectionTable::Close(Member* member) {
  Forget(member);
  member->Close();
}

}  // namespace olmoe::http
