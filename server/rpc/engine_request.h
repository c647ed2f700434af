#ifndef OLMOE_SERVER_RPC_ENGINE_REQUEST_H_
#define OLMOE_SERVER_RPC_ENGINE_REQUEST_H_

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "olmoe/v1/routing.pb.h"
#include "server/engine/engine.h"
#include "server/engine/request.h"
#include "server/rpc/routing_choice.h"
#include "server/rpc/service_context.h"

namespace grpc {
class CallbackServerContext;
}

namespace olmoe::rpc {

// One request on its way through the engine: pinned and stamped by Admit, queued by
// Submit, cancelled and resumed from then on, reported once when it has ended.
// Admit, Submit and Report are called by one thread at a time; Cancel and Resume by
// any thread at any time.
class EngineRequest {
 public:
  // `method`: a literal, "Generate". `client`: see ClientOf.
  EngineRequest(const ServiceContext* context, std::string_view method, std::string client)
      : context_(context), method_(method), client_(std::move(client)) {}

  // Pins the plan and assigns the arm: the stamp is known from here on.
  absl::Status Admit(const RoutingChoice& choice, std::string request_id);
  // x-olmoe-generation and x-olmoe-arm, to be sent before anything else.
  void AddMetadata(grpc::CallbackServerContext* server_context) const;

  // An error: `sink` is never called.
  absl::Status Submit(std::variant<engine::GenerateWork, engine::ScoreWork> work,
                      absl::Time deadline, std::shared_ptr<engine::TokenSink> sink);
  // CANCELLED, or DEADLINE_EXCEEDED where that is why.
  void Cancel();
  void Resume();

  // Tells statistics and the log how it ended; `completion` may be null.
  void Report(const absl::Status& status, const engine::Completion* completion,
              ScoredSum scored = {});

  const ServiceContext& context() const { return *context_; }
  const std::string& request_id() const { return request_id_; }
  const v1::RoutingStamp& stamp() const { return stamp_; }

 private:
  const ServiceContext* const context_;
  const std::string_view method_;
  const std::string client_;
  std::string request_id_;
  absl::Time deadline_ = absl::InfiniteFuture();
  routing::PlanPin pin_;  // until Submit
  routing::Assignment assignment_;
  v1::RoutingStamp stamp_;
  // A cancellation may come before Submit has returned the handle.
  std::atomic<engine::RequestHandle> handle_{0};  // 0: none
  std::atomic<bool> cancelled_{false};
};

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_ENGINE_REQUEST_H_
