// GetServerStatus and Drain.
#include <optional>

#include "absl/time/clock.h"
#include "server/api/time_proto.h"
#include "server/engine/engine.h"
#include "server/rpc/admin_calls.h"
#include "server/rpc/open_watches.h"
#include "server/util/status_details.h"

namespace olmoe::rpc {

v1::GetServerStatusResponse GetServerStatus(const AdminContext& context) {
  const engine::EngineStatus status = context.serving->engine->Status();
  v1::GetServerStatusResponse response;
  *response.mutable_start_time() = api::ToProto(context.start_time);
  response.set_running_requests(static_cast<uint32_t>(status.running_requests));
  response.set_queued_requests(static_cast<uint32_t>(status.queued_requests));
  response.set_kv_cache_used_bytes(static_cast<uint64_t>(status.kv_used_bytes));
  response.set_kv_cache_capacity_bytes(static_cast<uint64_t>(status.kv_capacity_bytes));
  response.set_prefix_cache_bytes(static_cast<uint64_t>(status.prefix_cache_bytes));
  response.set_cached_prompt_tokens(status.cached_prompt_tokens);
  response.set_draining(status.draining);
  if (status.draining) *response.mutable_drain_time() = api::ToProto(status.drain_time);
  for (const engine::EngineStatus::RunningRequest& from : status.requests) {
    v1::RequestStatus* to = response.add_requests();
    to->set_request_id(from.request_id);
    to->set_method(from.method);
    to->mutable_routing()->set_generation(from.generation);
    to->mutable_routing()->set_arm_id(from.arm_id);
    to->set_prompt_tokens(from.prompt_tokens);
    to->set_completion_tokens(from.completion_tokens);
    *to->mutable_age() = api::ToProto(from.age);
  }
  return response;
}

absl::StatusOr<v1::DrainResponse> Drain(const v1::DrainRequest& request,
                                        const AdminContext& context) {
  const std::optional<absl::Duration> grace = api::FromProto(request.grace());
  if (!grace) return InvalidFields({{"grace", "must be a duration >= 0"}});
  if (context.on_drain) context.on_drain();
  context.watches->EndAll();
  v1::DrainResponse response;
  response.set_aborted_requests(
      static_cast<uint32_t>(context.serving->engine->Drain(absl::Now() + *grace)));
  return response;
}

}  // namespace olmoe::rpc
