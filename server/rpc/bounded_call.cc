#include "server/rpc/bounded_call.h"

#include <grpcpp/server_context.h>

#include "absl/time/clock.h"
#include "glog/logging.h"
#include "server/limits/call_limits.h"
#include "server/limits/fair_workers.h"
#include "server/rpc/caller.h"
#include "server/rpc/grpc_status.h"

namespace olmoe::rpc {
namespace {

// What gRPC takes of a message before anybody reads it (its window), and for the call itself.
constexpr int64_t kCallBytes = 64 << 10;
// To parse, check and tokenize a byte of a message takes this much beside it.
constexpr int64_t kPreparingBytes = 20;
// To send a message. A stream that waits for its client's next one may make others wait longer.
constexpr absl::Duration kPatience = absl::Seconds(1);
constexpr absl::Duration kStreamPatience = absl::Seconds(10);

int64_t LengthOf(const grpc::ByteBuffer& bytes) {
  return bytes.Valid() ? static_cast<int64_t>(bytes.Length()) : 0;
}

}  // namespace

absl::Time ToDeadline(std::chrono::system_clock::time_point deadline) {
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return absl::FromChrono(deadline);
}

BoundedCall::BoundedCall(const CallContext* context, grpc::CallbackServerContext* server_context)
    : context_(context),
      server_context_(server_context),
      client_(ClientOf(*server_context, *context)),
      deadline_(ToDeadline(server_context->deadline())),
      read_hold_(context->limits->memory().Open(client_)),
      write_hold_(context->limits->memory().Open(client_)) {}

void BoundedCall::Open() {
  self_ = shared_from_this();
  if (const absl::Status status = read_hold_.Resize(kCallBytes); !status.ok()) {
    OnRefused(status);
    End(status);
  } else {
    Read();
  }
}

void BoundedCall::Read() {
  message_.Clear();
  read_hold_.Set(kCallBytes);
  context_->limits->receipts().Ask(shared_from_this(),
                                   {.client = client_,
                                    .hold = &read_hold_,
                                    .patience = has_begun_ ? kStreamPatience : kPatience,
                                    .refuse = !has_begun_});
}

void BoundedCall::OnTurn() {
  absl::MutexLock lock(&mu_);
  if (!has_ended_) StartRead(&message_);
}

void BoundedCall::OnDropped(absl::Status status) {
  if (has_begun_) return OnTurnLost(status);
  OnRefused(status);
  // Others wait for its memory, which a client that does not even take this would keep.
  context_->limits->answers().BeginFor(shared_from_this(), kPatience);
  FinishNow(status);
}

void BoundedCall::OnTurnLost(const absl::Status& status) { End(status); }

void BoundedCall::OnReadDone(bool ok) {
  const int64_t bytes = ok ? LengthOf(message_) : 0;
  if (!context_->limits->receipts().Received(this, bytes)) return;
  if (ok) {
    Prepare();
  } else {
    has_begun_ = true;
    OnMessage(false);
  }
}

void BoundedCall::Prepare() {
  const int64_t bytes = LengthOf(message_);
  if (const absl::Status status = read_hold_.Resize(kCallBytes + bytes * (1 + kPreparingBytes));
      !status.ok()) {
    return OnMessageRefused(status);
  }
  const auto run = [call = shared_from_this()] {
    call->has_begun_ = true;
    call->OnMessage(true);
  };
  if (context_->large_requests == nullptr || bytes < static_cast<int64_t>(kLargeRequestBytes)) {
    return run();
  }
  context_->large_requests->Run({.client = client_,
                                 .interrupt = interrupt(),
                                 .run = run,
                                 .refuse = [call = shared_from_this()](const absl::Status& status) {
                                   call->OnMessageRefused(status);
                                 }});
}

void BoundedCall::OnMessageRefused(const absl::Status& status) {
  OnRefused(status);
  End(status);
}

void BoundedCall::OnCancel() {
  const auto alive = shared_from_this();
  stop_.request_stop();
  if (context_->limits->receipts().Withdraw(this)) {
    if (has_begun_) {
      OnMessage(false);
    } else {
      OnRefused(CancelledStatus());
      End(CancelledStatus());
    }
  }
  if (has_begun_) OnCancelled();
}

absl::Status BoundedCall::CancelledStatus() const { return CancelledAt(deadline_); }

absl::Status BoundedCall::Reserve(int64_t bytes) { return read_hold_.Resize(kCallBytes + bytes); }

limits::RequestMemory::Hold BoundedCall::NewHold() const {
  return context_->limits->memory().Open(client_);
}

void BoundedCall::Write(grpc::ByteBuffer bytes) {
  const auto alive = shared_from_this();
  written_ = std::move(bytes);
  write_hold_.Set(LengthOf(written_));
  context_->limits->answers().Begin(alive, LengthOf(written_));
  absl::MutexLock lock(&mu_);
  StartWrite(&written_);
}

void BoundedCall::OnWriteDone(bool ok) {
  context_->limits->answers().End(this);
  written_.Clear();
  write_hold_.Set(0);
  OnWritten(ok);
}

void BoundedCall::Answer(grpc::ByteBuffer bytes) {
  const auto alive = shared_from_this();
  written_ = std::move(bytes);
  message_.Clear();
  write_hold_.Set(LengthOf(written_));
  read_hold_.Set(kCallBytes);
  context_->limits->answers().Begin(alive, LengthOf(written_));
  absl::MutexLock lock(&mu_);
  has_ended_ = true;
  StartWriteAndFinish(&written_, grpc::WriteOptions(), grpc::Status::OK);
}

void BoundedCall::End(const absl::Status& status) {
  context_->limits->answers().Begin(shared_from_this(), 0);
  FinishNow(status);
}

void BoundedCall::FinishNow(const absl::Status& status) {
  const auto alive = shared_from_this();
  absl::MutexLock lock(&mu_);
  has_ended_ = true;
  Finish(ToGrpcStatus(status));
}

void BoundedCall::OnUnread(bool again) {
  std::string peer;
  {
    absl::MutexLock lock(&mu_);
    if (is_done_) return;
    if (!again) return server_context_->TryCancel();
    peer = server_context_->peer();
  }
  LOG_EVERY_T(WARNING, 10) << "a client does not read its answer: " << peer;
  if (context_->disconnect) context_->disconnect(peer);
}

void BoundedCall::OnDone() {
  const auto last = std::move(self_);
  context_->limits->answers().End(this);
  context_->limits->receipts().Withdraw(this);
  {
    absl::MutexLock lock(&mu_);
    is_done_ = true;
  }
  message_.Clear();
  written_.Clear();
  write_hold_ = {};
  read_hold_ = {};
  context_->limits->receipts().Close(this);
}

}  // namespace olmoe::rpc
