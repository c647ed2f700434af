#include "server/rpc/put_calibration.h"

#include <utility>

#include "olmoe/v1/admin.pb.h"
#include "server/rpc/calibration_admin.h"
#include "server/rpc/calibration_upload.h"
#include "server/rpc/wire.h"
#include "server/rpc/worker_pool.h"

namespace olmoe::rpc {
namespace {

// One PutCalibration call: one read at a time, then the end: what runs is one chain of callbacks. A
// cancelled call goes the same way, because its reads end: too early for a calibration to be
// complete, or so late that it is added.
class PutCalibrationCall final : public BoundedCall {
 public:
  PutCalibrationCall(const ServiceContext* context, WorkerPool* pool,
                     grpc::CallbackServerContext* server_context)
      : BoundedCall(context, server_context),
        pool_(pool),
        upload_hold_(NewHold()),
        upload_(context->model.num_layers) {}

 private:
  void OnMessage(bool ok) override {
    if (!ok) {
      return pool_->Run([call = Shared(this)] { call->Finish(); });
    }
    if (const absl::Status status = Accept(); status.ok()) {
      Read();
    } else {
      End(status);
    }
  }

  // A layer's table is kept as it came.
  absl::Status Accept() {
    const int64_t bytes = static_cast<int64_t>(message().Length());
    absl::Status status = upload_hold_.Resize(upload_hold_.bytes() + 2 * bytes);
    v1::PutCalibrationRequest request;
    if (status.ok()) status = ParseMessage(message(), &request);
    if (!status.ok()) return status;
    upload_.Add(request);
    return upload_.is_hopeless() ? upload_.Finish().status() : absl::OkStatus();
  }

  void Finish() {
    absl::StatusOr<v1::PutCalibrationResponse> response = Add();
    if (response.ok()) {
      Answer(SerializeMessage(*response));
    } else {
      End(response.status());
    }
  }

  absl::StatusOr<v1::PutCalibrationResponse> Add() {
    auto calibration = upload_.Finish();
    if (!calibration.ok()) return calibration.status();
    auto info = AddCalibration(*std::move(calibration), context());
    if (!info.ok()) return info.status();
    v1::PutCalibrationResponse response;
    *response.mutable_calibration() = *std::move(info);
    return response;
  }

  WorkerPool* const pool_;
  RequestMemory::Hold upload_hold_;
  CalibrationUpload upload_;
};

}  // namespace

ByteReactor* StartPutCalibration(const ServiceContext* context, WorkerPool* pool,
                                 grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<PutCalibrationCall>(context, pool, server_context);
}

}  // namespace olmoe::rpc
