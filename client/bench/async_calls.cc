#include "client/bench/async_calls.h"

#include <set>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/transport/channel.h"
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
      : peer{options.server, /*is_admin=*/false, options.credentials.tls},
        timeout(options.timeout),
        stub(transport::Connect(peer.address, options.credentials)) {}

  template <typename Reactor, typename Request>
  class Call;
  class StreamCall;
  class ScoreCall;

  const transport::Peer peer;
  const absl::Duration timeout;
  v1::InferenceService::Stub stub;
  OpenCalls calls;
};

// A call under way, by a reactor; destroys itself at its end.
template <typename Reactor, typename Request>
class AsyncCalls::Connection::Call : public Reactor {
 protected:
  Call(Connection* connection, const Request& request)
      : connection_(connection), request_(request) {}

  // Before it starts.
  void Prepare() {
    transport::SetDeadline(connection_->timeout, &context_);
    connection_->calls.Add(&context_);
  }
  absl::Status FromGrpc(const grpc::Status& status) const {
    return transport::FromGrpc(status, connection_->peer);
  }
  // What a call does last.
  void Free() {
    OpenCalls& calls = connection_->calls;
    calls.Remove(&context_);
    delete this;
    calls.CountDown();
  }

  Connection* const connection_;
  grpc::ClientContext context_;
  const Request request_;
};

class AsyncCalls::Connection::StreamCall final
    : public Call<grpc::ClientReadReactor<v1::GenerateStreamResponse>, v1::GenerateRequest> {
 public:
  StreamCall(Connection* connection, const v1::GenerateRequest& request, Target::OnEvent on_event,
             Target::OnDone on_done)
      : Call(connection, request), on_event_(std::move(on_event)), on_done_(std::move(on_done)) {}

  void Start() {
    Prepare();
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
    on_done_(FromGrpc(status));
    Free();
  }

 private:
  const Target::OnEvent on_event_;
  const Target::OnDone on_done_;
  v1::GenerateStreamResponse event_;
};

// By a reactor as well: the form with a function runs it before gRPC has let go of the call.
class AsyncCalls::Connection::ScoreCall final
    : public Call<grpc::ClientUnaryReactor, v1::ScoreRequest> {
 public:
  ScoreCall(Connection* connection, const v1::ScoreRequest& request, Target::OnScored on_scored)
      : Call(connection, request), on_scored_(std::move(on_scored)) {}

  void Start() {
    Prepare();
    connection_->stub.async()->Score(&context_, &request_, &response_, this);
    StartCall();
  }

  void OnDone(const grpc::Status& status) override {
    if (status.ok()) {
      on_scored_(std::move(response_));
    } else {
      on_scored_(FromGrpc(status));
    }
    Free();
  }

 private:
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
  (new Connection::StreamCall(connection_.get(), request, std::move(on_event), std::move(on_done)))
      ->Start();
}

void AsyncCalls::Score(const v1::ScoreRequest& request, OnScored on_scored) {
  (new Connection::ScoreCall(connection_.get(), request, std::move(on_scored)))->Start();
}

void AsyncCalls::CancelAll() { connection_->calls.CancelAll(); }

}  // namespace olmoe::client::bench
