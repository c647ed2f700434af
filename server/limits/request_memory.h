#ifndef OLMOE_SERVER_LIMITS_REQUEST_MEMORY_H_
#define OLMOE_SERVER_LIMITS_REQUEST_MEMORY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace olmoe::limits {

// The bytes that all calls together may hold, from a call's headers until its answer is
// written: its message, what is made of it, what it will answer. It counts what calls say they
// hold and allocates nothing. A quarter is always left to others than the client that holds the
// most. Thread-safe.
class RequestMemory {
 public:
  // `on_freed` is called without a lock each time that bytes have become free.
  explicit RequestMemory(int64_t max_bytes, std::function<void()> on_freed = [] {});
  ~RequestMemory();
  RequestMemory(const RequestMemory&) = delete;
  RequestMemory& operator=(const RequestMemory&) = delete;

 private:
  struct Client {
    std::string name;
    int64_t bytes = 0;
    int holds = 0;  // that name it
  };

 public:
  // What one call holds; given back when this goes. Thread-compatible. Outlived by the memory.
  class Hold {
   public:
    Hold() = default;  // of nothing, and never more
    Hold(Hold&& other) noexcept;
    Hold& operator=(Hold&& other) noexcept;
    ~Hold();

    int64_t bytes() const { return bytes_; }
    // Holds `bytes` from now on. Errors: RESOURCE_EXHAUSTED, with RetryInfo unless it could
    // never fit; then nothing changes. To hold less never fails. `headroom`: bytes that are to be
    // free after it.
    absl::Status Resize(int64_t bytes, int64_t headroom = 0);
    // The same for what is in memory already, which is counted even beyond the budget.
    void Set(int64_t bytes);

   private:
    friend class RequestMemory;
    Hold(RequestMemory* memory, Client* client) : memory_(memory), client_(client) {}
    void Release();

    RequestMemory* memory_ = nullptr;
    Client* client_ = nullptr;
    int64_t bytes_ = 0;
  };

  // A hold of 0 bytes. `client`: whose call it is; empty where that is not known: then there is no
  // share.
  Hold Open(const std::string& client);

  int64_t max_bytes() const { return max_bytes_; }
  int64_t used_bytes() const;
  // Until there are no holds, or the deadline.
  void AwaitNone(absl::Time deadline) const;

 private:
  absl::Status Change(Client* client, int64_t change, int64_t headroom);
  void Close(Client* client);

  const int64_t max_bytes_;
  const std::function<void()> on_freed_;
  mutable absl::Mutex mu_;
  int64_t used_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::string, Client> clients_ ABSL_GUARDED_BY(mu_);  // that have a hold
};

}  // namespace olmoe::limits

#endif  // OLMOE_SERVER_LIMITS_REQUEST_MEMORY_H_
