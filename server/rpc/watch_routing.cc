#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "olmoe/v1/admin.pb.h"
#include "server/api/routing_proto.h"
#include "server/routing/controller.h"
#include "server/rpc/admin_calls.h"
#include "server/rpc/open_watches.h"
#include "server/rpc/stream_call.h"
#include "server/rpc/wire.h"

namespace olmoe::rpc {
namespace {

// One WatchRouting call. It queues nothing: a message is made from what is true when the
// one before is on its way, so a reader that is slow misses plans in between and costs
// no memory. Whoever changes the routing wakes it.
class WatchRoutingCall final : public StreamCall<AdminContext> {
 public:
  WatchRoutingCall(const AdminContext* context, grpc::CallbackServerContext* server_context)
      : StreamCall(context, server_context),
        controller_(context->serving->controller),
        watches_(context->watches) {}

  ~WatchRoutingCall() override {
    controller_->listeners().Remove(listener_);
    if (watch_) watches_->Remove(*watch_);
  }

 private:
  void OnMessage(bool) override {
    v1::WatchRoutingRequest request;
    if (absl::Status status = ParseMessage(message(), &request); !status.ok()) {
      Stop(std::move(status));
    } else {
      Listen();
    }
    Wake();
  }
  void OnBroken() override { Stop(absl::CancelledError("cancelled by the client")); }
  void OnCancelled() override {
    Stop(absl::CancelledError("cancelled by the client"));
    Wake();
  }
  Step Next() override;

  void Listen() {
    const std::weak_ptr<WatchRoutingCall> weak = Shared(this);
    const auto watch = watches_->Add([weak] {
      const auto alive = weak.lock();
      if (alive == nullptr) return;
      alive->Stop(absl::UnavailableError("the server is draining"));
      alive->Wake();
    });
    if (!watch.ok()) return Stop(watch.status());
    watch_ = *watch;
    listener_ = controller_->listeners().Add([weak] {
      if (const auto alive = weak.lock()) alive->Wake();
    });
  }
  // The first end counts.
  void Stop(absl::Status status) ABSL_LOCKS_EXCLUDED(mu_);
  // What the client does not know yet; nullopt where that is nothing.
  std::optional<v1::WatchRoutingResponse> NextMessage();

  routing::RoutingController* const controller_;
  OpenWatches* const watches_;
  std::optional<uint64_t> watch_;  // in watches_
  uint64_t listener_ = 0;          // 0: none

  // Of Next.
  std::shared_ptr<const routing::PlanRecord> told_;  // the last current
  // Generations that the client knows and was not told the end of.
  std::set<uint64_t> open_;

  absl::Mutex mu_;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);
};

void WatchRoutingCall::Stop(absl::Status status) {
  absl::MutexLock lock(&mu_);
  if (!end_) end_ = std::move(status);
}

WatchRoutingCall::Step WatchRoutingCall::Next() {
  {
    absl::MutexLock lock(&mu_);
    if (end_) return TheEnd(*end_);
  }
  const std::optional<v1::WatchRoutingResponse> message = NextMessage();
  return message ? Message(*message) : Nothing();
}

std::optional<v1::WatchRoutingResponse> WatchRoutingCall::NextMessage() {
  v1::WatchRoutingResponse message;
  // Before the older plans: one that is still current by the record is not drained.
  const auto current = controller_->CurrentRecord();
  const std::vector<routing::DrainingPlan> draining = controller_->slot().Draining();
  if (current != told_) {
    if (told_ == nullptr) {
      for (const routing::DrainingPlan& old : draining) open_.insert(old.plan->generation());
    }
    open_.insert(current->generation);
    told_ = current;
    *message.mutable_current() =
        api::ToProto(*current, controller_->slot().InFlight(current->generation));
    return message;
  }
  for (const uint64_t generation : open_) {
    if (generation == current->generation ||
        std::any_of(draining.begin(), draining.end(), [generation](const auto& old) {
          return old.plan->generation() == generation;
        })) {
      continue;
    }
    message.set_drained_generation(generation);
    open_.erase(generation);
    return message;
  }
  return std::nullopt;
}

}  // namespace

ByteReactor* StartWatchRouting(const AdminContext* context,
                               grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<WatchRoutingCall>(context, server_context);
}

}  // namespace olmoe::rpc
