// Calibrations by name: list, delete, get, put, build.
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "olmoe/v1/admin.pb.h"
#include "server/api/calibration_request.h"
#include "server/api/calibration_upload.h"
#include "server/api/request_cost.h"
#include "server/experiment/calibration_build.h"
#include "server/experiment/calibrations.h"
#include "server/routing/calibration.h"
#include "server/rpc/admin_calls.h"
#include "server/rpc/named_calls.h"
#include "server/rpc/wire.h"
#include "server/util/status_details.h"

namespace olmoe::rpc {
namespace {

constexpr int kMaxBuilds = 4;

absl::Status TooManyBuilds() {
  return WithRetryDelay(
      absl::ResourceExhaustedError(absl::StrCat(kMaxBuilds, " calibrations are being built")),
      absl::Seconds(10));
}

// Adds a calibration, or an error in its place, to the server's; the answer of the call that made
// it. May wait for a disk. Errors: ALREADY_EXISTS for a name with other tables; those of the set's
// hooks.
template <class Response>
absl::StatusOr<Response> Add(
    const absl::StatusOr<std::shared_ptr<const routing::Calibration>>& calibration,
    const experiment::Serving& serving) {
  if (!calibration.ok()) return calibration.status();
  if (absl::Status status = serving.calibrations->Add(*calibration); !status.ok()) return status;
  Response response;
  *response.mutable_calibration() =
      api::ToProto(**calibration, experiment::CalibrationsInUse(serving));
  return response;
}

struct CalibrationKind {
  using Upload = api::CalibrationUpload;
  static constexpr int64_t kHeldPerByte = 2;

  static Upload NewUpload(const experiment::Serving& serving) {
    return Upload(serving.model.num_layers);
  }
  static absl::StatusOr<v1::PutCalibrationResponse> AddTo(
      const absl::StatusOr<std::shared_ptr<const routing::Calibration>>& calibration,
      const experiment::Serving& serving) {
    return Add<v1::PutCalibrationResponse>(calibration, serving);
  }
};

class CalibrationSource {
 public:
  static absl::StatusOr<CalibrationSource> Of(const grpc::ByteBuffer& message,
                                              const experiment::Serving& serving) {
    v1::GetCalibrationRequest request;
    if (absl::Status status = ParseMessage(message, &request); !status.ok()) return status;
    auto found = experiment::FindCalibration(request.calibration_id(), serving);
    if (!found.ok()) return found.status();
    return CalibrationSource(*std::move(found));
  }

  absl::StatusOr<std::optional<v1::GetCalibrationResponse>> Next() {
    if (next_ == calibration_->tables().end()) return std::nullopt;
    v1::GetCalibrationResponse response;
    *response.mutable_layer_cdf() = api::ToProto(next_->first, next_->second);
    ++next_;
    return response;
  }

 private:
  explicit CalibrationSource(std::shared_ptr<const routing::Calibration> calibration)
      : calibration_(std::move(calibration)), next_(calibration_->tables().begin()) {}

  std::shared_ptr<const routing::Calibration> calibration_;
  std::map<int, routing::CdfTable>::const_iterator next_;
};

// One BuildCalibration call: parsed on the pool, which also adds what was collected: that may wait
// for a disk.
class BuildCalibrationCall final : public AdminCall {
 public:
  BuildCalibrationCall(const AdminContext* context, CalibrationBuilds* builds,
                       grpc::CallbackServerContext* server_context)
      : AdminCall(context, server_context), builds_(builds) {}

 private:
  void OnMessage(bool) override {
    builds_->pool->Run([call = Shared(this)] { call->Begin(); });
  }
  void OnCancelled() override;

  void Begin();
  absl::Status MakeBuild() ABSL_LOCKS_EXCLUDED(mu_);
  void OnCollected(const absl::Status& status);

  CalibrationBuilds* const builds_;

  absl::Mutex mu_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  // Constant after Begin.
  std::shared_ptr<experiment::CalibrationBuild> build_ ABSL_GUARDED_BY(mu_);
};

void BuildCalibrationCall::Begin() {
  const bool is_one_too_many = builds_->running.fetch_add(1) >= kMaxBuilds;
  const absl::Status status = is_one_too_many ? TooManyBuilds() : MakeBuild();
  if (!status.ok()) return OnCollected(status);
  std::shared_ptr<experiment::CalibrationBuild> build;
  {
    absl::MutexLock lock(&mu_);
    build = build_;
  }
  build->Start(deadline(),
               [call = Shared(this)](const absl::Status& status) { call->OnCollected(status); });
}

absl::Status BuildCalibrationCall::MakeBuild() {
  v1::BuildCalibrationRequest request;
  if (absl::Status status = ParseMessage(message(), &request); !status.ok()) return status;
  absl::StatusOr<experiment::CalibrationInput> input =
      api::ParseBuildCalibration(request, serving());
  if (!input.ok()) return input.status();
  const int64_t bytes = api::MemoryOf(*input, serving().model);
  if (absl::Status status = Reserve(bytes); !status.ok()) return status;
  ClearMessage();
  absl::MutexLock lock(&mu_);
  build_ = std::make_shared<experiment::CalibrationBuild>(&serving(), client(), *std::move(input));
  if (cancelled_) build_->Cancel();
  return absl::OkStatus();
}

void BuildCalibrationCall::OnCancelled() {
  absl::MutexLock lock(&mu_);
  cancelled_ = true;
  if (build_ != nullptr) build_->Cancel();
}

void BuildCalibrationCall::OnCollected(const absl::Status& status) {
  if (!status.ok()) {
    --builds_->running;
    return End(status);
  }
  builds_->pool->Run([call = Shared(this)] {
    std::shared_ptr<experiment::CalibrationBuild> build;
    {
      absl::MutexLock lock(&call->mu_);
      build = call->build_;
    }
    const auto response = Add<v1::BuildCalibrationResponse>(build->Build(), call->serving());
    --call->builds_->running;
    call->AnswerWith(response);
  });
}

}  // namespace

v1::ListCalibrationsResponse ListCalibrations(const AdminContext& context) {
  const auto in_use = experiment::CalibrationsInUse(*context.serving);
  v1::ListCalibrationsResponse response;
  for (const auto& calibration : context.serving->calibrations->List()) {
    *response.add_calibrations() = api::ToProto(*calibration, in_use);
  }
  return response;
}

absl::StatusOr<v1::DeleteCalibrationResponse> DeleteCalibration(
    const v1::DeleteCalibrationRequest& request, const AdminContext& context) {
  const absl::Status status =
      experiment::DeleteCalibration(request.calibration_id(), *context.serving);
  if (!status.ok()) return status;
  return v1::DeleteCalibrationResponse();
}

ByteReactor* StartGetCalibration(const AdminContext* context,
                                 grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<GetCall<CalibrationSource>>(context, server_context);
}

ByteReactor* StartPutCalibration(const AdminContext* context, limits::WorkerPool* pool,
                                 grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<PutCall<CalibrationKind>>(context, pool, server_context);
}

ByteReactor* StartBuildCalibration(const AdminContext* context, CalibrationBuilds* builds,
                                   grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<BuildCalibrationCall>(context, builds, server_context);
}

}  // namespace olmoe::rpc
