#include "server/rpc/get_calibration.h"

#include <map>
#include <memory>
#include <utility>

#include "olmoe/v1/admin.pb.h"
#include "server/rpc/calibration_admin.h"
#include "server/rpc/calibration_upload.h"
#include "server/rpc/wire.h"

namespace olmoe::rpc {
namespace {

// One GetCalibration call: a message a layer, one write at a time, then the end. It keeps the
// calibration, deleted or not.
class GetCalibrationCall final : public BoundedCall {
 public:
  using BoundedCall::BoundedCall;

 private:
  void OnMessage(bool) override {
    if (const absl::Status status = Find(); !status.ok()) return End(status);
    next_ = calibration_->tables().begin();
    WriteNext();
  }
  void OnWritten(bool ok) override {
    if (!ok) return End(absl::CancelledError("nobody reads"));
    WriteNext();
  }

  absl::Status Find() {
    v1::GetCalibrationRequest request;
    if (absl::Status status = ParseMessage(message(), &request); !status.ok()) return status;
    auto found = FindCalibration(request.calibration_id(), context());
    if (found.ok()) calibration_ = *std::move(found);
    return found.status();
  }

  void WriteNext() {
    if (next_ == calibration_->tables().end()) return End(absl::OkStatus());
    v1::GetCalibrationResponse message;
    *message.mutable_layer_cdf() = ToProto(next_->first, next_->second);
    ++next_;
    Write(SerializeMessage(message));
  }

  std::shared_ptr<const routing::Calibration> calibration_;
  std::map<int, routing::CdfTable>::const_iterator next_;
};

}  // namespace

ByteReactor* StartGetCalibration(const ServiceContext* context,
                                 grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<GetCalibrationCall>(context, server_context);
}

}  // namespace olmoe::rpc
