#include "server/rpc/put_calibration.h"

#include <utility>

#include "olmoe/v1/admin.pb.h"
#include "server/rpc/calibration_admin.h"
#include "server/rpc/calibration_upload.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/large_requests.h"
#include "server/rpc/wire.h"
#include "server/rpc/worker_pool.h"

namespace olmoe::rpc {
namespace {

// One PutCalibration call; it owns itself until gRPC is done with it. One read at a time,
// then Finish, once: what runs is one chain of callbacks. A cancelled call goes the same
// way, because its reads end: too early for a calibration to be complete, or so late that
// it is added.
class PutCalibrationCall final : public grpc::ServerReadReactor<grpc::ByteBuffer> {
 public:
  PutCalibrationCall(const ServiceContext* context, WorkerPool* pool, grpc::ByteBuffer* response)
      : context_(context), pool_(pool), response_(response), upload_(context->model.num_layers) {
    StartRead(&message_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return pool_->Run([this] { Answer(); });
    PrepareRequest(*context_, message_, [this] { Accept(); });
  }
  void OnDone() override { delete this; }

 private:
  void Accept() {
    v1::PutCalibrationRequest message;
    if (absl::Status status = ParseMessage(message_, &message); !status.ok()) {
      return Finish(ToGrpcStatus(status));
    }
    upload_.Add(message);
    if (upload_.is_hopeless()) return Finish(ToGrpcStatus(upload_.Finish().status()));
    StartRead(&message_);
  }

  void Answer() {
    absl::Status status = Add();
    Finish(ToGrpcStatus(status));
  }

  absl::Status Add() {
    auto calibration = upload_.Finish();
    if (!calibration.ok()) return calibration.status();
    auto info = AddCalibration(*std::move(calibration), *context_);
    if (!info.ok()) return info.status();
    v1::PutCalibrationResponse response;
    *response.mutable_calibration() = *std::move(info);
    *response_ = SerializeMessage(response);
    return absl::OkStatus();
  }

  const ServiceContext* const context_;
  WorkerPool* const pool_;
  grpc::ByteBuffer* const response_;
  CalibrationUpload upload_;
  grpc::ByteBuffer message_;  // of the read under way
};

}  // namespace

grpc::ServerReadReactor<grpc::ByteBuffer>* StartPutCalibration(const ServiceContext* context,
                                                               WorkerPool* pool,
                                                               grpc::ByteBuffer* response) {
  return new PutCalibrationCall(context, pool, response);
}

}  // namespace olmoe::rpc
