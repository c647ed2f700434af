#include "tests/rpc/calibration_fixture.h"

#include <cstring>
#include <span>

#include "server/routing/calibration_builder.h"

namespace olmoe::rpc {

v1::PutCalibrationRequest Layer(uint32_t layer, std::vector<double> cdf) {
  v1::PutCalibrationRequest message;
  message.mutable_layer_cdf()->set_layer(layer);
  message.mutable_layer_cdf()->set_x0(-4);
  message.mutable_layer_cdf()->set_dx(8.0 / static_cast<double>(cdf.size() - 1));
  message.mutable_layer_cdf()->mutable_cdf()->Add(cdf.begin(), cdf.end());
  return message;
}

std::vector<v1::PutCalibrationRequest> Upload(const std::string& id, std::vector<double> cdf) {
  std::vector<v1::PutCalibrationRequest> messages = {Layer(0, cdf), Layer(1, cdf)};
  messages[0].set_calibration_id(id);
  return messages;
}

v1::PatchRoutersRequest BhPatch(const std::string& calibration) {
  v1::PatchRoutersRequest request;
  request.mutable_policy()->set_policy_id("bh");
  v1::BenjaminiHochberg* bh = request.mutable_policy()->mutable_apply()->mutable_bh();
  bh->set_alpha(0.5);
  bh->set_calibration_id(calibration);
  return request;
}

v1::BuildCalibrationRequest FromTexts(const std::string& id, std::vector<std::string> texts) {
  v1::BuildCalibrationRequest request;
  request.set_calibration_id(id);
  request.mutable_texts()->mutable_texts()->Add(texts.begin(), texts.end());
  return request;
}

v1::BuildCalibrationRequest FromLive(const std::string& id, uint64_t tokens) {
  v1::BuildCalibrationRequest request;
  request.set_calibration_id(id);
  request.mutable_live()->set_tokens(tokens);
  return request;
}

std::string DigestByTraces(const std::vector<v1::GenerateResponse>& replies, int trim_top) {
  auto builder = routing::CalibrationBuilder::Create({2, 8, 2, false}, trim_top);
  for (const v1::GenerateResponse& reply : replies) {
    const std::string& bytes = reply.trace().logits();
    std::vector<float> logits(bytes.size() / sizeof(float));
    std::memcpy(logits.data(), bytes.data(), bytes.size());
    for (size_t i = 0; i < logits.size() / 8; ++i) {
      EXPECT_TRUE(
          builder->AddRow(static_cast<int>(i % 2), std::span(logits).subspan(8 * i, 8)).ok());
    }
  }
  return (*builder->Build("expected"))->digest();
}

v1::GenerateRequest Traced(v1::GenerateRequest request) {
  request.mutable_trace()->set_logits(true);
  return request;
}

}  // namespace olmoe::rpc
