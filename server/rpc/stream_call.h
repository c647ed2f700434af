#ifndef OLMOE_SERVER_RPC_STREAM_CALL_H_
#define OLMOE_SERVER_RPC_STREAM_CALL_H_

#include <grpcpp/support/byte_buffer.h>

#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "google/protobuf/message.h"
#include "server/rpc/bounded_call.h"
#include "server/rpc/wire.h"

namespace olmoe::rpc {

// A call that writes a stream: one write at a time, and its end once and after the last write. The
// derived class says in Next what is to be written now, and calls Wake after each change of that;
// so whatever comes while a write is under way can become one message, or none.
template <class Context>
class StreamCall : public ServiceCall<Context> {
 public:
  using ServiceCall<Context>::ServiceCall;

 protected:
  // What a stream does next: a message, its end, or nothing until the next Wake.
  struct Step {
    std::optional<grpc::ByteBuffer> message;
    std::optional<absl::Status> end;
  };
  static Step Message(const google::protobuf::Message& message) {
    return {.message = SerializeMessage(message), .end = std::nullopt};
  }
  static Step TheEnd(absl::Status status) {
    return {.message = std::nullopt, .end = std::move(status)};
  }
  static Step Nothing() { return {}; }

  // By one thread at a time, without a lock and never while a write is under way. Not called again
  // after an end.
  virtual Step Next() = 0;
  // A write has failed: nobody reads. A Wake follows.
  virtual void OnBroken() = 0;

  // Any thread, at any time. Must not be called with a lock held that Next takes.
  void Wake() ABSL_LOCKS_EXCLUDED(mu_) {
    {
      absl::MutexLock lock(&mu_);
      has_changed_ = true;
      if (is_busy_) return;
      is_busy_ = true;
    }
    Go();
  }

 private:
  void OnWritten(bool ok) final {
    if (!ok) OnBroken();
    Go();
  }

  // Whoever calls it has made the stream busy.
  void Go() ABSL_LOCKS_EXCLUDED(mu_) {
    const auto alive = this->Shared(this);  // gRPC may be done before this function is
    while (true) {
      {
        absl::MutexLock lock(&mu_);
        has_changed_ = false;
      }
      Step step = Next();
      if (step.message) return this->Write(*std::move(step.message));
      if (step.end) return this->End(*step.end);
      absl::MutexLock lock(&mu_);
      if (has_changed_) continue;
      is_busy_ = false;
      return;
    }
  }

  absl::Mutex mu_;
  // A thread is in Go, a write is under way, or the stream has ended.
  bool is_busy_ ABSL_GUARDED_BY(mu_) = false;
  bool has_changed_ ABSL_GUARDED_BY(mu_) = false;  // since Next was called
};

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_STREAM_CALL_H_
