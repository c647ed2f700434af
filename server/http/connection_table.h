#ifndef OLMOE_SERVER_HTTP_CONNECTION_TABLE_H_
#define OLMOE_SERVER_HTTP_CONNECTION_TABLE_H_

#include <chrono>
#include <cstddef>
#include <list>
#include <string>
#include <unordered_map>

#include "server/http/message.h"

namespace olmoe::http {

// What a connection is at. Each has its own time, which spans all that is read or written in it: a
// byte now and then extends nothing.
enum class Phase {
  kHandshake,  // of TLS
  kIdle,       // no byte of a request is there
  kRequest,    // from its first byte to its last
  kHandling,   // the client waits for us: no limit
  kWriting,    // we wait for the client to read
  kLinger,     // said all; closing at once would lose the answer that is still under way
};

struct ConnectionLimits {
  using Milliseconds = std::chrono::milliseconds;

  size_t max_connections = 1024;
  size_t max_connections_per_client = 768;  // by address; local clients (Unix socket) have none
  // Bodies of requests, of all connections.
  size_t max_request_bytes = 64 << 20;
  // Bodies of answers that clients have not read, of all connections, shared ones once.
  size_t max_unread_bytes = 32 << 20;

  Milliseconds handshake{5'000};
  Milliseconds idle{15'000};
  Milliseconds request{10'000};
  Milliseconds answer{30'000};
  // An answer has this much time more for its size: a slower line is a client that does not read.
  // 0: none.
  size_t answer_bytes_per_second = 0;
  Milliseconds linger{1'000};
};

// Which connections there are, and which of them have to go: those whose time is over, and where
// there are too many, of the client that has most of them the one that has waited longest. Who asks
// and reads is none of these as long as others are. Thread-compatible.
class ConnectionTable {
 public:
  using Clock = std::chrono::steady_clock;

  // Leaves the table with its end at the latest.
  class Member {
   public:
    virtual ~Member();
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;

   protected:
    Member() = default;
    Phase phase() const { return phase_; }
    // Gives everything up at once. The table has forgotten it already.
    virtual void Close() = 0;

   private:
    friend class ConnectionTable;
    ConnectionTable* table_ = nullptr;  // null: not in it
    std::string client_;
    Phase phase_ = Phase::kIdle;
    Clock::time_point deadline_;
    Body unread_;
    size_t request_bytes_ = 0;
    std::list<Member*>::iterator place_;
  };

  explicit ConnectionTable(const ConnectionLimits& limits) : limits_(limits) {}

  // It begins idle. False where nobody can go for it; then it is not in the table, and nor is one
  // that was made to go since.
  bool Admit(Member* member, const std::string& client);
  // Its time begins anew.
  void Begin(Member* member, Phase phase);
  // The member's request has `bytes`; false where all have too many. They are given back by 0.
  bool HoldRequest(Member* member, size_t bytes);
  // The member begins to write `body`. Where too much is unread, the members go that have been
  // writing longest.
  void HoldUnread(Member* member, const Body& body);
  void ReleaseUnread(Member* member);

  // Makes room, as Admit does. False where nobody can go.
  bool EvictOne();
  void CloseOverdue();
  void CloseIdle();  // all that no answer is under way to
  void CloseAll();

  bool empty() const { return order_.empty(); }
  size_t size() const { return order_.size(); }
  size_t unread_bytes() const { return unread_bytes_; }

 private:
  using Order = std::list<Member*>;

  Clock::duration TimeOf(Phase phase) const;
  Member* LongestIn(Phase phase, const Member* but);
  // Who goes first of those that are `eligible`; null where none can.
  template <class Eligible>
  Member* Victim(const Eligible& eligible);
  Member* VictimOf(const std::string& client);
  Member* VictimOfMost();
  void Forget(Member* member);
  void Close(Member* member);

  const ConnectionLimits limits_;
  Order order_;  // whose phase began first is first
  std::unordered_map<std::string, size_t> of_client_;
  std::unordered_map<const std::string*, size_t> readers_;  // of bodies that are written
  size_t unread_bytes_ = 0;   // of these bodies
  size_t request_bytes_ = 0;
};

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_CONNECTION_TABLE_H_
