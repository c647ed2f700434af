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
#include "server/rpc/logit_collector.h"
#include "server/rpc/request_cost.h"
#include "server/rpc/request_fields.h"
#include "server/rpc/wire.h"
#include "server/rpc/worker_pool.h"
#include "server/util/status_details.h"

namespace olmoe::rpc {
namespace {

constexpr int kMaxBuilds = 4;

// One BuildCalibration call. It shares itself with the engine while that delivers.
//
// From texts: one score request after the other, each of one group of windows and with a
// trace of its router logits, as an inline policy that is the model's own routing; so it
// takes its turn like any other request, and no more than one group is in memory. From
// live tokens: a tap of the engine. Either way what is collected is counted on the
// engine's thread, and only the end goes to the pool: adding may wait for a disk.
//
// Begin (pool), then callbacks of the engine, then Stop (pool or engine), which ends it once: one
// chain. OnCancelled comes at any time and only stops the engine's part.
class BuildCalibrationCall final : public BoundedCall, public engine::TokenSink {
 public:
  BuildCalibrationCall(const ServiceContext* context, CalibrationBuilds* builds,
                       grpc::CallbackServerContext* server_context)
      : BoundedCall(context, server_context), builds_(builds) {}

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

 private:
  void OnMessage(bool) override {
    builds_->pool->Run([call = Shared(this)] { call->Begin(); });
  }
  void OnCancelled() override;

  void Begin();
  absl::Status Parse();
  // Submits the next group of texts.
  absl::Status SubmitNext() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Tap() ABSL_LOCKS_EXCLUDED(mu_);
  void Stop(const absl::Status& status);
  absl::StatusOr<v1::BuildCalibrationResponse> Add();

  CalibrationBuilds* const builds_;

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

void BuildCalibrationCall::Begin() {
  absl::Status status = Parse();
  if (status.ok()) status = input_.groups.empty() ? Tap() : SubmitNext();
  if (!status.ok()) Stop(status);
}

absl::Status BuildCalibrationCall::Parse() {
  counted_ = true;
  if (builds_->running.fetch_add(1) >= kMaxBuilds) {
    return WithRetryDelay(
        absl::ResourceExhaustedError(absl::StrCat(kMaxBuilds, " calibrations are being built")),
        absl::Seconds(10));
  }
  v1::BuildCalibrationRequest request;
  if (absl::Status status = ParseMessage(message(), &request); !status.ok()) return status;
  absl::StatusOr<CalibrationInput> input = ParseBuildCalibration(request, context());
  if (!input.ok()) return input.status();
  input_ = *std::move(input);
  if (absl::Status status = Reserve(MemoryOf(input_, context().model)); !status.ok()) {
    return status;
  }
  ClearMessage();
  collector_ = std::make_unique<LogitCollector>(context().controller->shape(), input_.trim_top,
                                                input_.live_tokens);
  return absl::OkStatus();
}

absl::Status BuildCalibrationCall::SubmitNext() {
  engine::ScoreWork work;
  work.windows = std::move(input_.groups[next_group_++]);
  work.trace.logits = true;
  RoutingChoice choice;
  choice.inline_policy = context().controller->native_policy();
  auto request = std::make_shared<EngineRequest>(&context(), "BuildCalibration", client());
  absl::Status status = request->Admit(choice, ParseRequestId("", nullptr));
  if (!status.ok()) return status;
  {
    absl::MutexLock lock(&mu_);
    if (cancelled_) return CancelledStatus();
    request_ = request;
  }
  status = request->Submit(std::move(work), deadline(), Shared(this));
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
  Stop(status);
}

absl::Status BuildCalibrationCall::Tap() {
  const auto call = Shared(this);
  engine::LogitTap tap;
  tap.arm_ids = input_.arm_ids;
  tap.deadline = deadline();
  tap.on_rows = [call](std::span<const float> router_logits, int num_rows) {
    return call->collector_->AddRows(router_logits, num_rows);
  };
  tap.on_done = [call](const absl::Status& status) { call->Stop(status); };
  absl::MutexLock lock(&mu_);
  if (cancelled_) return CancelledStatus();
  const auto handle = context().engine->Tap(std::move(tap));
  if (handle.ok()) tap_ = *handle;
  return handle.status();
}

void BuildCalibrationCall::OnCancelled() {
  std::shared_ptr<EngineRequest> request;
  std::optional<engine::TapHandle> tap;
  {
    absl::MutexLock lock(&mu_);
    cancelled_ = true;
    request = request_;
    tap = tap_;
  }
  if (request != nullptr) request->Cancel();
  if (tap) context().engine->Untap(*tap, CancelledStatus());
}

void BuildCalibrationCall::Stop(const absl::Status& status) {
  if (!status.ok()) {
    if (counted_) --builds_->running;
    return End(status);
  }
  builds_->pool->Run([call = Shared(this)] {
    const absl::StatusOr<v1::BuildCalibrationResponse> response = call->Add();
    --call->builds_->running;
    if (response.ok()) {
      call->Answer(SerializeMessage(*response));
    } else {
      call->End(response.status());
    }
  });
}

absl::StatusOr<v1::BuildCalibrationResponse> BuildCalibrationCall::Add() {
  auto calibration = collector_->Build(input_.calibration_id);
  if (!calibration.ok()) return calibration.status();
  auto info = AddCalibration(*std::move(calibration), context());
  if (!info.ok()) return info.status();
  v1::BuildCalibrationResponse response;
  *response.mutable_calibration() = *std::move(info);
  return response;
}

}  // namespace

ByteReactor* StartBuildCalibration(const ServiceContext* context, CalibrationBuilds* builds,
                                   grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<BuildCalibrationCall>(context, builds, server_context);
}

}  // namespace olmoe::rpc
