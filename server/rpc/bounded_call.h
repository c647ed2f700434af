#ifndef OLMOE_SERVER_RPC_BOUNDED_CALL_H_
#define OLMOE_SERVER_RPC_BOUNDED_CALL_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/experiment/serving.h"
#include "server/limits/answer_watch.h"
#include "server/limits/receipts.h"
#include "server/limits/request_memory.h"
#include "server/rpc/call_context.h"
#include "server/rpc/wire.h"
#include "server/util/interrupt.h"

namespace olmoe::rpc {

// From so many bytes on a message is prepared in its client's turn on the pool, about a millisecond
// of parsing and tokenizing, so that megabytes of text hold up neither the few threads that gRPC
// answers on nor other clients.
inline constexpr size_t kLargeRequestBytes = 64 << 10;

// The deadline of a ServerContext; infinite where the client set none.
absl::Time ToDeadline(std::chrono::system_clock::time_point deadline);

using ByteReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// A call of any kind, entered when its headers have come and its message has not: it holds memory
// (request_memory.h) before it reads, has turns to read (receipts.h), is prepared in its client's
// turn if it is large, and is ended where nobody reads what it writes
// (answer_watch.h). Every service's calls derive from it; a unary call is one that reads one
// message and Answers.
//
// It owns itself until gRPC is done with it; a derived class hands out shared_from_this to keep it
// longer. One message is read and one is written at a time. What derived classes implement is
// called by gRPC's threads and by the workers, OnMessage and OnWritten each one at a time; what
// they call, they may call on any thread.
class BoundedCall : public ByteReactor,
                    public limits::Receipts::Receiver,
                    public limits::AnswerWatch::Writer,
                    public std::enable_shared_from_this<BoundedCall> {
 public:
  // Makes a call and begins to read its first message.
  template <class T, class... Args>
  static ByteReactor* Start(Args&&... args) {
    const auto call = std::make_shared<T>(std::forward<Args>(args)...);
    call->Open();
    return call.get();
  }

  BoundedCall(const CallContext* context, grpc::CallbackServerContext* server_context);

 protected:
  // The message that was asked for is there; false: there is none, because the client sends no
  // more or has gone.
  virtual void OnMessage(bool ok) = 0;
  // What Write wrote is on its way; false: the client has gone.
  virtual void OnWritten(bool ok) {}
  // The client has gone, the deadline has passed or the server ends; at any time after the first
  // OnMessage.
  virtual void OnCancelled() {}
  // The call ends with `status` before its first OnMessage.
  virtual void OnRefused(const absl::Status& status) {}
  // A message was refused: there is no memory or no worker to prepare it, or the call was
  // cancelled while it waited for one. By default the call ends.
  virtual void OnMessageRefused(const absl::Status& status);
  // It makes others wait, or memory is wanted for them. By default the call ends.
  virtual void OnTurnLost(const absl::Status& status);

  // Leads to one OnMessage, which may take its time.
  void Read();
  // The last message. Its memory is this call's until it is replaced or cleared.
  const grpc::ByteBuffer& message() const { return message_; }
  void ClearMessage() { message_.Clear(); }
  // Leads to one OnWritten.
  void Write(grpc::ByteBuffer bytes);
  // The end, once: with the answer of a unary call, or without.
  void Answer(grpc::ByteBuffer bytes);
  void End(const absl::Status& status);
  template <class Response>
  void AnswerWith(const absl::StatusOr<Response>& response) {
    if (response.ok()) {
      Answer(SerializeMessage(*response));
    } else {
      End(response.status());
    }
  }

  // Memory beside the message for what is made of it and for the answer, as much as there can be.
  // Errors: RESOURCE_EXHAUSTED.
  absl::Status Reserve(int64_t bytes);
  // Memory of its own, for what outlives the message of a stream.
  limits::RequestMemory::Hold NewHold() const;

  // Valid until the end.
  grpc::CallbackServerContext* server_context() const { return server_context_; }
  absl::Time deadline() const { return deadline_; }
  const std::string& client() const { return client_; }
  // What ends this call's work early.
  Interrupt interrupt() const { return {.stop = stop_.get_token(), .deadline = deadline_}; }
  // Why a call that is cancelled is.
  absl::Status CancelledStatus() const;
  template <class T>
  std::shared_ptr<T> Shared(T* self) {
    return std::static_pointer_cast<T>(self->BoundedCall::shared_from_this());
  }

 private:
  void Open();
  void Prepare();
  void FinishNow(const absl::Status& status);

  // Receipts::Receiver and AnswerWatch::Writer.
  void OnTurn() final;
  void OnDropped(absl::Status status) final;
  void OnUnread(bool again) final;
  // ByteReactor.
  void OnReadDone(bool ok) final;
  void OnWriteDone(bool ok) final;
  void OnCancel() final;
  void OnDone() final;

  const CallContext* const context_;
  grpc::CallbackServerContext* const server_context_;
  const std::string client_;
  const absl::Time deadline_;
  std::shared_ptr<BoundedCall> self_;
  limits::RequestMemory::Hold read_hold_;   // this call, its message, and what is made of it
  limits::RequestMemory::Hold write_hold_;  // the write under way
  std::stop_source stop_;                // requested by a cancellation
  std::atomic<bool> has_begun_ = false;  // the first OnMessage
  grpc::ByteBuffer message_;  // of the read under way, or the last
  grpc::ByteBuffer written_;  // of the write under way

  // Before whatever touches the reactor or the context from another thread than gRPC's.
  absl::Mutex mu_;
  bool has_ended_ ABSL_GUARDED_BY(mu_) = false;  // no read may begin
  bool is_done_ ABSL_GUARDED_BY(mu_) = false;    // the context is gone
};

// A call of a service, with what the service shares.
template <class Context>
class ServiceCall : public BoundedCall {
 public:
  ServiceCall(const Context* context, grpc::CallbackServerContext* server_context)
      : BoundedCall(&context->call, server_context), context_(context) {}

 protected:
  const Context& context() const { return *context_; }
  const experiment::Serving& serving() const { return *context_->serving; }

 private:
  const Context* const context_;
};

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_BOUNDED_CALL_H_
