#include "client/bench/async_calls.h"

#include <chrono>
#include <set>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/channel.h"
#include "client/grpc_status.h"
#include "grpcpp/client_context.h"
#include "olmoe/v1/inference.grpc.pb.h"

namespace olmoe::client {
namespace {

// The calls under way. Thread-safe.
class OpenCalls {
 public:
  void Add(grpc::ClientContext* call) {
    absl::MutexLock lock(&mu_);
    calls_.insert(call);
    if (cancelled_) call->TryCancel();
  }
  void Remove(grpc::ClientContext* call) {
    absl::MutexLock lock(&mu_);
    calls_.erase(call);
  }
  void CancelAll() {
    absl::MutexLock lock(&mu_);
    cancelled_ = true;
    for (grpc::ClientContext* call : calls_) call->TryCancel();
  }
  void WaitUntilNone() {
    absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(+[](std::set<grpc::ClientContext*>* calls) { return calls->empty(); },
                              &calls_));
  }

 private:
  absl::Mutex mu_;
  std::set<grpc::ClientContext*> calls_ ABSL_GUARDED_BY(mu_);
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace

// The channel, and what each call needs of it. Thread-safe.
struct AsyncCalls::Connection {
  explicit Connection(const RpcClient::Options& options)
      : address(options.server),
        timeout(options.timeout),
        stub(Connect(address, options.credentials)) {}

  void Prepare(grpc::ClientContext* context) {
    if (timeout < absl::InfiniteDuration()) {
      context->set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(timeout));
    }
    calls.Add(context);
  }

  class StreamCall;
  struct ScoreCall {
    grpc::ClientContext context;
    v1::ScoreRequest request;
    v1::ScoreResponse response;
  };

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
    on_done_(FromGrpc(status, connection_->address));
    connection_->calls.Remove(&context_);
    delete this;
  }

 private:
  Connection* const connection_;
  grpc::ClientContext context_;
  const v1::GenerateRequest request_;
  const Target::OnEvent on_event_;
  const Target::OnDone on_done_;
  v1::GenerateStreamResponse event_;
};

AsyncCalls::AsyncCalls(const RpcClient::Options& options)
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
  auto call = std::make_shared<Connection::ScoreCall>();
  call->request = request;
  connection_->Prepare(&call->context);
  connection_->stub.async()->Score(
      &call->context, &call->request, &call->response,
      [this, call, on_scored = std::move(on_scored)](const grpc::Status& status) {
        if (status.ok()) {
          on_scored(std::move(call->response));
        } else {
          on_scored(FromGrpc(status, connection_->address));
        }
        connection_->calls.Remove(&call->context);
      });
}

void AsyncCalls::CancelAll() { connection_->calls.CancelAll(); }

}  // namespace olmoe::client
