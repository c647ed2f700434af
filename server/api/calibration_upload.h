#ifndef OLMOE_SERVER_API_CALIBRATION_UPLOAD_H_
#define OLMOE_SERVER_API_CALIBRATION_UPLOAD_H_

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "olmoe/v1/admin.pb.h"
#include "server/api/request_errors.h"
#include "server/routing/calibration.h"

namespace olmoe::api {

// The messages of one PutCalibration, put together. All layers of the model have to
// come, so a stream that breaks off cannot pass for a smaller calibration. Tables are
// kept only while everything is in order, so the memory is that of one calibration
// whatever is sent. Thread-compatible.
class CalibrationUpload {
 public:
  using Request = v1::PutCalibrationRequest;

  explicit CalibrationUpload(int num_layers) : num_layers_(num_layers) {}

  // Violations are named "messages[2].layer_cdf.dx".
  void Add(const v1::PutCalibrationRequest& message);
  // So much is wrong that the rest need not be read.
  bool is_hopeless() const;
  // Every violation of the messages so far, or the calibration.
  absl::StatusOr<std::shared_ptr<const routing::Calibration>> Finish();

 private:
  void CheckId(const v1::PutCalibrationRequest& message, const std::string& prefix);
  void AddLayer(const v1::LayerCdf& layer, const std::string& prefix);
  void AddMissingLayers();

  const int num_layers_;
  int num_messages_ = 0;
  routing::Calibration::Options options_;
  std::map<int, int> message_of_layer_;  // 0 <= layer < num_layers
  RequestErrors errors_;
};

// `layer` of `calibration` as GetCalibration gives it and PutCalibration takes it.
v1::LayerCdf ToProto(int layer, const routing::CdfTable& table);

// `in_use`: the ids of those that may not be deleted.
v1::CalibrationInfo ToProto(const routing::Calibration& calibration,
                            const std::set<std::string, std::less<>>& in_use);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_CALIBRATION_UPLOAD_H_
