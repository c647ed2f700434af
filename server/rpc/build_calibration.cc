#include "server/rpc/build_calibration.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "glog/logging.h"
#include "olmoe/v1/admin.pb.h"
#include "server/engine/engine.h"
#include "server/routing/controller.h"
#include "server/rpc/calibration_admin.h"
#include "server/rpc/calibration_request.h"
#include "server/rpc/conversions.h"
#include "server/rpc/engine_request.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/logit_collector.h"
#include "server/rpc/request_fields.h"
#include "server/rpc/wire.h"
#include "server/rpc/worker_pool.h"
#include "server/util/status_details.h"

namespace olmoe::rpc {
namespace {

constexpr int kMaxBuilds = 4;

// One BuildCalibration call. It owns itself until gRPC is done with it, and shares itself
// with the engine while that delivers.
//
// From texts: one score request after the other, each of one group of windows and with a
// trace of its router logits, as an inline policy that is the model's own routing; so it
// takes its turn like any other request, and no more than one group is in memory. From
// live tokens: a tap of the engine. Either way what is collected is counted on the
// engine's thread, and only the end goes to the pool: adding may wait for a disk.
//
// Begin (pool), then callbacks of the engine, then End (pool or engine), which calls
// Finish once: one chain. OnCancel comes at any time and only stops the engine's part.
class BuildCalibrationCall final : public grpc::ServerUnaryReactor,
                                   public engine::TokenSink,
                                   public std::enable_shared_from_this<BuildCalibrationCall> {
 public:
  BuildCalibrationCall(const ServiceContext* context, CalibrationBuilds* builds,
                       grpc::CallbackServerContext* server_context, grpc::ByteBuffer* response)
      : context_(context),
        builds_(builds),
        deadline_(ToDeadline(server_context->deadline())),
        response_(response) {}

  static BuildCalibrationCall* Start(std::shared_ptr<BuildCalibrationCall> call,
                                     const grpc::ByteBuffer& bytes) {
    call->self_ = call;
    call->builds_->pool->Run([call, &bytes] { call->Begin(bytes); });
    return call.get();
  }

  // engine::TokenSink, engine thread.
  engine::Flow OnTokens(engine::GenerateDelta) override {
    LOG(FATAL) << "a score has no tokens";
    return engine::Flow::kContinue;
  }
  engine::Flow OnScores(engine::WindowScores scores) override {
    collector_->AddTrace(scores.trace);
    return engine::Flow::kContinue;
  }
  void OnDone(const engine::Completion& completion) override;

  // grpc::ServerUnaryReactor, gRPC threads.
  void OnCancel() override;
  void OnDone() override { const auto last = std::move(self_); }

 private:
  void Begin(const grpc::ByteBuffer& bytes);
  absl::Status Parse(const grpc::ByteBuffer& bytes);
  // Submits the next group of texts.
  absl::Status SubmitNext() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Tap() ABSL_LOCKS_EXCLUDED(mu_);
  void End(const absl::Status& status);
  absl::Status Add();
  absl::Status CancelledStatus() const;

  const ServiceContext* const context_;
  CalibrationBuilds* const builds_;
  const absl::Time deadline_;
  grpc::ByteBuffer* const response_;
  std::shared_ptr<BuildCalibrationCall> self_;

  // Of the chain.
  bool counted_ = false;  // in builds_->running
  CalibrationInput input_;
  size_t next_group_ = 0;
  std::unique_ptr<LogitCollector> collector_;

  absl::Mutex mu_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  std::shared_ptr<EngineRequest> request_ ABSL_GUARDED_BY(mu_);  // the one submitted last
  std::optional<engine::TapHandle> tap_ ABSL_GUARDED_BY(mu_);
};

void BuildCalibrationCall::Begin(const grpc::ByteBuffer& bytes) {
  absl::Status status = Parse(bytes);
  if (status.ok()) status = input_.groups.empty() ? Tap() : SubmitNext();
  if (!status.ok()) End(status);
}

absl::Status BuildCalibrationCall::Parse(const grpc::ByteBuffer& bytes) {
  counted_ = true;
  if (builds_->running.fetch_add(1) >= kMaxBuilds) {
    return WithRetryDelay(
        absl::ResourceExhaustedError(absl::StrCat(kMaxBuilds, " calibrations are being built")),
        absl::Seconds(10));
  }
  v1::BuildCalibrationRequest message;
  if (absl::Status status = ParseMessage(bytes, &message); !status.ok()) return status;
  absl::StatusOr<CalibrationInput> input = ParseBuildCalibration(message, *context_);
  if (!input.ok()) return input.status();
  input_ = *std::move(input);
  collector_ = std::make_unique<LogitCollector>(context_->controller->shape(), input_.trim_top,
                                                input_.live_tokens);
  return absl::OkStatus();
}

absl::Status BuildCalibrationCall::SubmitNext() {
  engine::ScoreWork work;
  work.windows = std::move(input_.groups[next_group_++]);
  work.trace.logits = true;
  RoutingChoice choice;
  choice.inline_policy = context_->controller->native_policy();
  auto request = std::make_shared<EngineRequest>(context_, "BuildCalibration");
  absl::Status status = request->Admit(choice, ParseRequestId("", nullptr));
  if (!status.ok()) return status;
  {
    absl::MutexLock lock(&mu_);
    if (cancelled_) return CancelledStatus();
    request_ = request;
  }
  status = request->Submit(std::move(work), deadline_, shared_from_this());
  if (!status.ok()) request->Report(status, nullptr);
  return status;
}

void BuildCalibrationCall::OnDone(const engine::Completion& completion) {
  std::shared_ptr<EngineRequest> request;
  {
    absl::MutexLock lock(&mu_);
    request = request_;
  }
  request->Report(completion.status, &completion);
  absl::Status status = completion.status;
  if (status.ok() && next_group_ < input_.groups.size()) {
    status = SubmitNext();
    if (status.ok()) return;
  }
  End(status);
}

absl::Status BuildCalibrationCall::Tap() {
  const auto call = shared_from_this();
  engine::LogitTap tap;
  tap.arm_ids = input_.arm_ids;
  tap.deadline = deadline_;
  tap.on_rows = [call](std::span<const float> router_logits, int num_rows) {
    return call->collector_->AddRows(router_logits, num_rows);
  };
  tap.on_done = [call](const absl::Status& status) { call->End(status); };
  absl::MutexLock lock(&mu_);
  if (cancelled_) return CancelledStatus();
  const auto handle = context_->engine->Tap(std::move(tap));
  if (handle.ok()) tap_ = *handle;
  return handle.status();
}

void BuildCalibrationCall::OnCancel() {
  std::shared_ptr<EngineRequest> request;
  std::optional<engine::TapHandle> tap;
  {
    absl::MutexLock lock(&mu_);
    cancelled_ = true;
    request = request_;
    tap = tap_;
  }
  if (request != nullptr) request->Cancel();
  if (tap) context_->engine->Untap(*tap, CancelledStatus());
}

absl::Status BuildCalibrationCall::CancelledStatus() const {
  return absl::Now() >= deadline_ ? absl::DeadlineExceededError("the deadline has passed")
                                  : absl::CancelledError("cancelled by the client");
}

void BuildCalibrationCall::End(const absl::Status& status) {
  if (!status.ok()) {
    if (counted_) --builds_->running;
    return Finish(ToGrpcStatus(status));
  }
  builds_->pool->Run([call = shared_from_this()] {
    const absl::Status added = call->Add();
    --call->builds_->running;
    call->Finish(ToGrpcStatus(added));
  });
}

absl::Status BuildCalibrationCall::Add() {
  auto calibration = collector_->Build(input_.calibration_id);
  if (!calibration.ok()) return calibration.status();
  auto info = AddCalibration(*std::move(calibration), *context_);
  if (!info.ok()) return info.status();
  v1::BuildCalibrationResponse response;
  *response.mutable_calibration() = *std::move(info);
  *response_ = SerializeMessage(response);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* StartBuildCalibration(const ServiceContext* context,
                                                CalibrationBuilds* builds,
                                                grpc::CallbackServerContext* server_context,
                                                const grpc::ByteBuffer* request,
                                                grpc::ByteBuffer* response) {
  return BuildCalibrationCall::Start(
      std::make_shared<BuildCalibrationCall>(context, builds, server_context, response), *request);
}

}  // namespace olmoe::rpc
