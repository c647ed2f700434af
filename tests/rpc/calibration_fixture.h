// What the tests of the calibration calls share: the calls over a FakeModel (2 layers, 8
// experts) and a real engine, and their requests.
#ifndef OLMOE_TESTS_RPC_CALIBRATION_FIXTURE_H_
#define OLMOE_TESTS_RPC_CALIBRATION_FIXTURE_H_

#include <grpcpp/client_context.h>

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {

// One layer on a grid from -4 to 4.
v1::PutCalibrationRequest Layer(uint32_t layer, std::vector<double> cdf);
// Both layers.
std::vector<v1::PutCalibrationRequest> Upload(const std::string& id, std::vector<double> cdf);
v1::PatchRoutersRequest BhPatch(const std::string& calibration);
v1::BuildCalibrationRequest FromTexts(const std::string& id, std::vector<std::string> texts);
v1::BuildCalibrationRequest FromLive(const std::string& id, uint64_t tokens);
v1::GenerateRequest Traced(v1::GenerateRequest request);

// Of the calibration of the router logits in the traces.
std::string DigestByTraces(const std::vector<v1::GenerateResponse>& replies, int trim_top);

class CalibrationTest : public ::testing::Test {
 protected:
  explicit CalibrationTest(TestServerOptions options = {}) : server_(std::move(options)) {}

  // The reply is in put_.
  grpc::Status Put(const std::vector<v1::PutCalibrationRequest>& messages) {
    grpc::ClientContext context;
    put_.Clear();
    const auto writer = server_.admin().PutCalibration(&context, &put_);
    for (const v1::PutCalibrationRequest& message : messages) {
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }
  grpc::Status Build(const v1::BuildCalibrationRequest& request) {
    grpc::ClientContext context;
    built_.Clear();
    return server_.admin().BuildCalibration(&context, request, &built_);
  }
  grpc::Status Delete(const std::string& id) {
    grpc::ClientContext context;
    v1::DeleteCalibrationRequest request;
    request.set_calibration_id(id);
    v1::DeleteCalibrationResponse response;
    return server_.admin().DeleteCalibration(&context, request, &response);
  }
  // The layers in get_.
  grpc::Status Get(const std::string& id) {
    grpc::ClientContext context;
    v1::GetCalibrationRequest request;
    request.set_calibration_id(id);
    get_.clear();
    const auto reader = server_.admin().GetCalibration(&context, request);
    v1::GetCalibrationResponse message;
    while (reader->Read(&message)) get_.push_back(message.layer_cdf());
    return reader->Finish();
  }
  std::vector<v1::CalibrationInfo> List() {
    grpc::ClientContext context;
    v1::ListCalibrationsResponse response;
    EXPECT_TRUE(server_.admin().ListCalibrations(&context, {}, &response).ok());
    return {response.calibrations().begin(), response.calibrations().end()};
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const v1::CalibrationInfo& info : List()) names.push_back(info.calibration_id());
    return names;
  }

  TestServer server_;
  v1::PutCalibrationResponse put_;
  v1::BuildCalibrationResponse built_;
  std::vector<v1::LayerCdf> get_;
};

}  // namespace olmoe::rpc

#endif  // OLMOE_TESTS_RPC_CALIBRATION_FIXTURE_H_
