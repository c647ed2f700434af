#ifndef OLMOE_SERVER_API_ROUTER_UPLOAD_H_
#define OLMOE_SERVER_API_ROUTER_UPLOAD_H_

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "olmoe/v1/admin.pb.h"
#include "server/api/request_errors.h"
#include "server/model/model.h"
#include "server/routing/named_use.h"
#include "server/routing/router.h"

namespace olmoe::api {

// The messages of one PutRouter, put together: some layers of the model, none twice. Weights are
// kept only while everything is in order, so the memory is that of one router whatever is sent.
// Thread-compatible.
class RouterUpload {
 public:
  using Request = v1::PutRouterRequest;

  // Outlives it.
  explicit RouterUpload(const model::Model* model) : model_(*model), shape_(model->info()) {}

  // Violations are named "messages[2].router_layer.float32".
  void Add(const v1::PutRouterRequest& message);
  // So much is wrong that the rest need not be read.
  bool is_hopeless() const;
  // Every violation of the messages so far, or the router, which the model has prepared.
  absl::StatusOr<std::shared_ptr<const routing::Router>> Finish();

 private:
  void CheckId(const v1::PutRouterRequest& message, const std::string& prefix);
  void AddLayer(const v1::RouterLayer& layer, const std::string& prefix);
  // nullopt for what is not the weights of a layer.
  std::optional<routing::RouterWeights> WeightsOf(const v1::RouterLayer& layer,
                                                  const std::string& prefix);

  const model::Model& model_;
  const model::ModelInfo& shape_;
  int num_messages_ = 0;
  routing::Router::Options options_;
  std::map<uint32_t, int> message_of_layer_;  // 0 <= layer < num_layers
  RequestErrors errors_;
};

// `layer` as GetRouter gives it and PutRouter takes it: in bfloat16 where that loses nothing.
v1::RouterLayer ToProto(int layer, const routing::RouterWeights& weights);

// `in_use`: the ids of those that may not be deleted.
v1::RouterInfo ToProto(const routing::Router& router, const routing::Names& in_use);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_ROUTER_UPLOAD_H_
