#include "client/bench/async_calls.h"

#include <chrono>
#include <set>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/transport/channel.h"
#include "client/transport/grpc_status.h"
#include "grpcpp/client_context.h"
#include "olmoe/v1/inference.grpc.pb.h"

namespace olmoe::client::bench {
namespace {

// The calls under way. A call is added before it begins, removed when it has ended, and
// counted down when nothing of it is left: a channel must not end, nor the process, while
// another thread still frees a call. Thread-safe.
class OpenCalls {
 public:
  void Add(grpc::ClientContext* call) {
    absl::MutexLock lock(&mu_);
    ++count_;
    calls_.insert(call);
    if (cancelled_) call->TryCancel();
  }
  void Remove(grpc::ClientContext* call) {
    absl::MutexLock lock(&mu_);
    calls_.erase(call);
  }
  void CountDown() {
    absl::MutexLock lock(&mu_);
    --count_;
  }
  void CancelAll() {
    absl::MutexLock lock(&mu_);
    cancelled_ = true;
    for (grpc::ClientContext* call : calls_) call->TryCancel();
  }
  void WaitUntilNone() {
    absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(+[](int* count) { return *count == 0; }, &count_));
  }

 private:
  absl::Mutex mu_;
  std::set<grpc::ClientContext*> calls_ ABSL_GUARDED_BY(mu_);
  int count_ ABSL_GUARDED_BY(mu_) = 0;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace

// The channel, and what each call needs of it. Thread-safe.
struct AsyncCalls::Connection {
  explicit Connection(const transport::RpcClient::Options& options)
      : address(options.server),
        timeout(options.timeout),
        stub(transport::Connect(address, options.credentials)) {}

  void Prepare(grpc::ClientContext* context) {
    if (timeout < absl::InfiniteDuration()) {
      context->set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(timeout));
    }
    calls.Add(context);
  }

  // What a call does last, with itself.
  template <typename Call>
  void Free(Call* call) {
    calls.Remove(call->context());
    delete call;
    calls.CountDown();
  }

  class StreamCall;
  class ScoreCall;

  const std::string address;
  const absl::Duration timeout;
  v1::InferenceService::Stub stub;
  OpenCalls calls;
};

// One stream; destroys itself at its end.
class AsyncCalls::Connection::StreamCall final
    : public grpc::ClientReadReactor<v1::GenerateStreamResponse> {
 public:
  StreamCall(Connection* connection, const v1::GenerateRequest& request,
             Target::OnEvent on_event, Target::OnDone on_done)
      : connection_(connection),
        request_(request),
        on_event_(std::move(on_event)),
        on_done_(std::move(on_done)) {}

  void Start() {
    connection_->Prepare(&context_);
    connection_->stub.async()->GenerateStream(&context_, &request_, this);
    StartRead(&event_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    on_event_(event_);
    StartRead(&event_);
  }

  void OnDone(const grpc::Status& status) override {
    on_done_(transport::FromGrpc(status, connection_->address));
    connection_->Free(this);
  }

  grpc::ClientContext* context() { return &context_; }

 private:
  Connection* const connection_;
  grpc::ClientContext context_;
  const v1::GenerateRequest request_;
  const Target::OnEvent on_event_;
  const Target::OnDone on_done_;
  v1::GenerateStreamResponse event_;
};

// One call, by a reactor as well: the form with a function runs it before gRPC has let go of
// the call. Destroys itself at its end.
class AsyncCalls::Connection::ScoreCall final : public grpc::ClientUnaryReactor {
 public:
  ScoreCall(Connection* connection, const v1::ScoreRequest& request, Target::OnScored on_scored)
      : connection_(connection), request_(request), on_scored_(std::move(on_scored)) {}

  void Start() {
    connection_->Prepare(&context_);
    connection_->stub.async()->Score(&context_, &request_, &response_, this);
    StartCall();
  }

  void OnDone(const grpc::Status& status) override {
    if (status.ok()) {
      on_scored_(std::move(response_));
    } else {
      on_scored_(transport::FromGrpc(status, connection_->address));
    }
    connection_->Free(this);
  }

  grpc::ClientContext* context() { return &context_; }

 private:
  Connection* const connection_;
  grpc::ClientContext context_;
  const v1::ScoreRequest request_;
  const Target::OnScored on_scored_;
  v1::ScoreResponse response_;
};

AsyncCalls::AsyncCalls(const transport::RpcClient::Options& options)
    : connection_(std::make_unique<Connection>(options)) {}

AsyncCalls::~AsyncCalls() {
  CancelAll();
  connection_->calls.WaitUntilNone();
}

void AsyncCalls::Generate(const v1::GenerateRequest& request, OnEvent on_event, OnDone on_done) {
  (new Connection::StreamCall(connection_.get(), request, std::move(on_event),
                              std::move(on_done)))
      ->Start();
}

void AsyncCalls::Score(const v1::ScoreRequest& request, OnScored on_scored) {
  (new Connection::ScoreCall(connection_.get(), request, std::move(on_scored)))->Start();
}

void AsyncCalls::CancelAll() { connection_->calls.CancelAll(); }

}  // namespace olmoe::client::bench
