#include "server/rpc/get_calibration.h"

#include <map>
#include <memory>
#include <utility>

#include "olmoe/v1/admin.pb.h"
#include "server/rpc/calibration_admin.h"
#include "server/rpc/calibration_upload.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/wire.h"

namespace olmoe::rpc {
namespace {

// One GetCalibration call: a message a layer, one write at a time, then Finish. It owns
// itself until gRPC is done with it, and keeps the calibration, deleted or not.
class GetCalibrationCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  GetCalibrationCall(const ServiceContext* context, const grpc::ByteBuffer& bytes) {
    if (absl::Status status = Find(bytes, *context); status.ok()) {
      next_ = calibration_->tables().begin();
      WriteNext();
    } else {
      Finish(ToGrpcStatus(status));
    }
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status(grpc::StatusCode::CANCELLED, "nobody reads"));
    WriteNext();
  }
  void OnDone() override { delete this; }

 private:
  absl::Status Find(const grpc::ByteBuffer& bytes, const ServiceContext& context) {
    v1::GetCalibrationRequest message;
    if (absl::Status status = ParseMessage(bytes, &message); !status.ok()) return status;
    auto found = FindCalibration(message.calibration_id(), context);
    if (found.ok()) calibration_ = *std::move(found);
    return found.status();
  }

  void WriteNext() {
    if (next_ == calibration_->tables().end()) return Finish(grpc::Status::OK);
    v1::GetCalibrationResponse message;
    *message.mutable_layer_cdf() = ToProto(next_->first, next_->second);
    ++next_;
    write_buffer_ = SerializeMessage(message);
    StartWrite(&write_buffer_);
  }

  std::shared_ptr<const routing::Calibration> calibration_;
  std::map<int, routing::CdfTable>::const_iterator next_;
  grpc::ByteBuffer write_buffer_;  // of the write under way
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartGetCalibration(const ServiceContext* context,
                                                                const grpc::ByteBuffer* request) {
  return new GetCalibrationCall(context, *request);
}

}  // namespace olmoe::rpc
