// Routers by name: list, delete, get, put.
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "olmoe/v1/admin.pb.h"
#include "server/api/router_upload.h"
#include "server/experiment/routers.h"
#include "server/routing/router.h"
#include "server/rpc/admin_calls.h"
#include "server/rpc/named_calls.h"

namespace olmoe::rpc {
namespace {

struct RouterKind {
  using Upload = api::RouterUpload;
  // What is kept and, in float32, what the model makes of it.
  static constexpr int64_t kHeldPerByte = 4;

  static Upload NewUpload(const experiment::Serving& serving) {
    return Upload(serving.loaded_model);
  }
  // May wait for a disk. Errors: ALREADY_EXISTS for a name with other weights; those of the set's
  // hooks.
  static absl::StatusOr<v1::PutRouterResponse> AddTo(
      const absl::StatusOr<std::shared_ptr<const routing::Router>>& router,
      const experiment::Serving& serving) {
    if (!router.ok()) return router.status();
    if (absl::Status status = serving.routers->Add(*router); !status.ok()) return status;
    v1::PutRouterResponse response;
    *response.mutable_router() = api::ToProto(**router, experiment::RoutersInUse(serving));
    return response;
  }
};

// A router, or the model's own.
class RouterSource {
 public:
  static absl::StatusOr<RouterSource> Of(const grpc::ByteBuffer& message,
                                         const experiment::Serving& serving) {
    v1::GetRouterRequest request;
    if (absl::Status status = ParseMessage(message, &request); !status.ok()) return status;
    if (request.router_id().empty()) return RouterSource(serving.loaded_model, nullptr);
    auto found = experiment::FindRouter(request.router_id(), serving);
    if (!found.ok()) return found.status();
    return RouterSource(serving.loaded_model, *std::move(found));
  }

  absl::StatusOr<std::optional<v1::GetRouterResponse>> Next() {
    if (router_ != nullptr) {
      while (layer_ < model_->info().num_layers && !router_->has_layer(layer_)) ++layer_;
    }
    if (layer_ == model_->info().num_layers) return std::nullopt;
    v1::GetRouterResponse response;
    if (router_ != nullptr) {
      *response.mutable_router_layer() = api::ToProto(layer_, router_->layers().at(layer_));
    } else {
      const absl::StatusOr<routing::RouterWeights> weights = model_->OwnRouter(layer_);
      if (!weights.ok()) return weights.status();
      *response.mutable_router_layer() = api::ToProto(layer_, *weights);
    }
    ++layer_;
    return response;
  }

 private:
  RouterSource(const model::Model* model, std::shared_ptr<const routing::Router> router)
      : model_(model), router_(std::move(router)) {}

  const model::Model* model_;
  std::shared_ptr<const routing::Router> router_;  // null: the model's own
  int layer_ = 0;
};

}  // namespace

v1::ListRoutersResponse ListRouters(const AdminContext& context) {
  const routing::Names in_use = experiment::RoutersInUse(*context.serving);
  v1::ListRoutersResponse response;
  for (const auto& router : context.serving->routers->List()) {
    *response.add_routers() = api::ToProto(*router, in_use);
  }
  return response;
}

absl::StatusOr<v1::DeleteRouterResponse> DeleteRouter(const v1::DeleteRouterRequest& request,
                                                      const AdminContext& context) {
  const absl::Status status = experiment::DeleteRouter(request.router_id(), *context.serving);
  if (!status.ok()) return status;
  return v1::DeleteRouterResponse();
}

ByteReactor* StartGetRouter(const AdminContext* context,
                            grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<GetCall<RouterSource>>(context, server_context);
}

ByteReactor* StartPutRouter(const AdminContext* context, limits::WorkerPool* pool,
                            grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<PutCall<RouterKind>>(context, pool, server_context);
}

}  // namespace olmoe::rpc
