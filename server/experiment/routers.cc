#include "server/experiment/routers.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/experiment/named_items.h"

namespace olmoe::experiment {

absl::Status CheckRoom(const routing::RouterSet& routers, const routing::Router& added) {
  size_t bytes = added.bytes();
  for (const auto& router : routers.List()) bytes += router->bytes();
  if (bytes <= kMaxRouterBytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("the routers of the server would have ", bytes,
                                                   " bytes, at most ", kMaxRouterBytes,
                                                   " are kept: delete one"));
}

routing::Names RoutersInUse(const Serving& serving) {
  return NamesInUse(serving, routing::RoutersOf);
}

absl::StatusOr<std::shared_ptr<const routing::Router>> FindRouter(const std::string& router_id,
                                                                  const Serving& serving) {
  return FindItem(*serving.routers, router_id);
}

absl::Status DeleteRouter(const std::string& router_id, const Serving& serving) {
  return DeleteItem(serving.routers, router_id, serving, routing::RoutersOf);
}

absl::StatusOr<std::shared_ptr<const routing::Router>> MakeRouter(routing::Router::Options options,
                                                                  const model::Model& model) {
  auto prepared = model.PrepareRouter(options.layers);
  if (!prepared.ok()) return prepared.status();
  options.prepared = *std::move(prepared);
  return routing::Router::Create(std::move(options));
}

}  // namespace olmoe::experiment
