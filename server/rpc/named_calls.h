// What the calls about calibrations and routers have in common: streams that go up and down, a
// message a layer.
#ifndef OLMOE_SERVER_RPC_NAMED_CALLS_H_
#define OLMOE_SERVER_RPC_NAMED_CALLS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/limits/request_memory.h"
#include "server/rpc/admin_calls.h"
#include "server/rpc/stream_call.h"
#include "server/rpc/wire.h"

namespace olmoe::rpc {

// An upload: one read at a time, then the end: what runs is one chain of callbacks. A cancelled
// call goes the same way, because its reads end: nothing is added then, if the upload is not
// complete or the cancellation is known.
//
// `Kind` has: Upload, which takes its Request by Add and knows is_hopeless() and Finish(); a
// constructor for it, NewUpload(serving); and AddTo(Finish(), serving), the response.
template <class Kind>
class PutCall final : public AdminCall {
 public:
  PutCall(const AdminContext* context, limits::WorkerPool* pool,
          grpc::CallbackServerContext* server_context)
      : AdminCall(context, server_context),
        pool_(pool),
        upload_hold_(this->NewHold()),
        upload_(Kind::NewUpload(this->serving())) {}

 private:
  void OnMessage(bool ok) override {
    if (!ok) {
      return pool_->Run([call = this->Shared(this)] {
        // Of some layers only: what came before a client was lost is no smaller upload, as far as
        // its loss is known by now.
        if (call->interrupt().stop.stop_requested()) return call->End(call->CancelledStatus());
        call->AnswerWith(Kind::AddTo(call->upload_.Finish(), call->serving()));
      });
    }
    if (const absl::Status status = Accept(); status.ok()) {
      this->Read();
    } else {
      this->End(status);
    }
  }

  // A layer is kept as it came.
  absl::Status Accept() {
    const int64_t bytes = static_cast<int64_t>(this->message().Length());
    absl::Status status = upload_hold_.Resize(upload_hold_.bytes() + Kind::kHeldPerByte * bytes);
    typename Kind::Upload::Request request;
    if (status.ok()) status = ParseMessage(this->message(), &request);
    if (!status.ok()) return status;
    upload_.Add(request);
    return upload_.is_hopeless() ? upload_.Finish().status() : absl::OkStatus();
  }

  limits::WorkerPool* const pool_;
  limits::RequestMemory::Hold upload_hold_;
  typename Kind::Upload upload_;
};

// A download. `Source` is made by Source::Of(message, serving), gives a message for each layer by
// Next() (a StatusOr of an optional: none is the end), and keeps what it reads, deleted or not.
template <class Source>
class GetCall final : public StreamCall<AdminContext> {
 public:
  using StreamCall::StreamCall;

 private:
  void OnMessage(bool) override {
    auto source = Source::Of(message(), serving());
    if (!source.ok()) return End(source.status());
    source_.emplace(*std::move(source));
    Wake();
  }
  void OnBroken() override { is_broken_ = true; }

  Step Next() override {
    if (is_broken_) return TheEnd(absl::CancelledError("nobody reads"));
    const auto message = source_->Next();
    if (!message.ok()) return TheEnd(message.status());
    return message->has_value() ? Message(**message) : TheEnd(absl::OkStatus());
  }

  // Of whoever writes.
  std::optional<Source> source_;
  bool is_broken_ = false;
};

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_NAMED_CALLS_H_
