#include "server/api/router_upload.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/experiment/routers.h"
#include "server/routing/field_checks.h"
#include "server/util/dtype.h"

namespace olmoe::api {
namespace {

constexpr int kMaxViolations = 64;

}  // namespace

void RouterUpload::CheckId(const v1::PutRouterRequest& message, const std::string& prefix) {
  if (num_messages_ == 0) {
    options_.router_id = message.router_id();
    std::vector<FieldViolation> violations;
    routing::CheckLongName(message.router_id(), prefix + "router_id", &violations);
    if (!violations.empty()) errors_.Add(violations[0].field, violations[0].description);
  } else if (!message.router_id().empty() && message.router_id() != options_.router_id) {
    errors_.Add(prefix + "router_id", "must be in the first message only");
  }
}

std::optional<routing::RouterWeights> RouterUpload::WeightsOf(const v1::RouterLayer& layer,
                                                              const std::string& prefix) {
  const bool wide = layer.weight_case() == v1::RouterLayer::kFloat32;
  if (!wide && layer.weight_case() != v1::RouterLayer::kBfloat16) {
    errors_.Add(prefix + ".weight", "float32 or bfloat16 must be set");
    return std::nullopt;
  }
  const std::string field = absl::StrCat(prefix, wide ? ".float32" : ".bfloat16");
  const std::string& bytes = wide ? layer.float32() : layer.bfloat16();
  const DType dtype = wide ? DType::kFloat32 : DType::kBFloat16;
  const size_t expected = static_cast<size_t>(shape_.num_experts) *
                          static_cast<size_t>(shape_.hidden_size) * DTypeBytes(dtype);
  if (bytes.size() != expected) {
    errors_.Add(field, absl::StrCat("must have ", shape_.num_experts, " x ", shape_.hidden_size,
                                    " x ", DTypeBytes(dtype), " = ", expected, " bytes for layer ",
                                    layer.layer(), ", has ", bytes.size()));
    return std::nullopt;
  }
  routing::RouterWeights weights = routing::RouterWeights::FromBytes(dtype, bytes);
  const std::vector<float> values = weights.Values();
  if (const int64_t i = routing::FirstNonFinite(values); i >= 0) {
    errors_.Add(field, absl::StrCat("must be finite, is ", values[static_cast<size_t>(i)],
                                    " in layer ", layer.layer(), " at expert ",
                                    i / shape_.hidden_size, ", input ", i % shape_.hidden_size));
    return std::nullopt;
  }
  return weights;
}

void RouterUpload::AddLayer(const v1::RouterLayer& layer, const std::string& prefix) {
  if (layer.layer() >= static_cast<uint32_t>(shape_.num_layers)) {
    errors_.Add(prefix + ".layer",
                absl::StrCat("must be 0..", shape_.num_layers - 1, ", is ", layer.layer()));
  } else if (const auto [first, is_new] =
                 message_of_layer_.try_emplace(layer.layer(), num_messages_);
             !is_new) {
    errors_.Add(prefix + ".layer", absl::StrCat("layer ", layer.layer(), " is in messages[",
                                                first->second, "] already"));
  }
  std::optional<routing::RouterWeights> weights = WeightsOf(layer, prefix);
  if (errors_.empty()) {
    options_.layers.emplace(static_cast<int>(layer.layer()), *std::move(weights));
  }
}

void RouterUpload::Add(const v1::PutRouterRequest& message) {
  if (is_hopeless()) return;
  const std::string prefix = absl::StrCat("messages[", num_messages_, "].");
  CheckId(message, prefix);
  if (message.has_router_layer()) {
    AddLayer(message.router_layer(), prefix + "router_layer");
  } else if (num_messages_ > 0) {
    errors_.Add(prefix + "router_layer", "must be set");
  }
  if (!errors_.empty()) options_.layers.clear();
  ++num_messages_;
}

bool RouterUpload::is_hopeless() const { return errors_.num_added() >= kMaxViolations; }

absl::StatusOr<std::shared_ptr<const routing::Router>> RouterUpload::Finish() {
  if (num_messages_ == 0) errors_.Add("router_id", "must be in the first message");
  if (message_of_layer_.empty() && errors_.empty()) {
    errors_.Add("router_layer", "must come for at least one layer of the model");
  }
  if (!errors_.empty()) return errors_.ToStatus();
  return experiment::MakeRouter(std::move(options_), model_);
}

v1::RouterLayer ToProto(int layer, const routing::RouterWeights& weights) {
  v1::RouterLayer out;
  out.set_layer(static_cast<uint32_t>(layer));
  if (weights.dtype() == DType::kFloat32) {
    out.set_float32(weights.bytes());
  } else {
    out.set_bfloat16(weights.bytes());
  }
  return out;
}

v1::RouterInfo ToProto(const routing::Router& router, const routing::Names& in_use) {
  v1::RouterInfo out;
  out.set_router_id(router.router_id());
  out.set_digest(router.digest());
  for (const auto& [layer, weights] : router.layers()) {
    out.add_layers(static_cast<uint32_t>(layer));
  }
  out.set_in_use(in_use.contains(router.router_id()));
  return out;
}

}  // namespace olmoe::api
