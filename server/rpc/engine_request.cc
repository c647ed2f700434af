#include "server/rpc/engine_request.h"

#include <grpcpp/server_context.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace olmoe::rpc {

absl::Status EngineRequest::Admit(const RoutingChoice& choice, std::string request_id) {
  request_id_ = std::move(request_id);
  absl::StatusOr<Admission> admission = rpc::Admit(choice, request_id_, *context_);
  if (!admission.ok()) return admission.status();
  pin_ = std::move(admission->pin);
  assignment_ = std::move(admission->assignment);
  stamp_ = std::move(admission->stamp);
  return absl::OkStatus();
}

void EngineRequest::AddMetadata(grpc::CallbackServerContext* server_context) const {
  server_context->AddInitialMetadata("x-olmoe-generation", absl::StrCat(stamp_.generation()));
  server_context->AddInitialMetadata("x-olmoe-arm", stamp_.arm_id());
}

absl::Status EngineRequest::Submit(std::variant<engine::GenerateWork, engine::ScoreWork> work,
                                   absl::Time deadline,
                                   std::shared_ptr<engine::TokenSink> sink) {
  deadline_ = deadline;
  engine::Request request;
  request.request_id = request_id_;
  request.client = client_;
  request.work = std::move(work);
  request.pin = std::move(pin_);
  request.assignment = assignment_;
  request.deadline = deadline;
  absl::StatusOr<engine::RequestHandle> handle =
      context_->engine->Submit(std::move(request), std::move(sink));
  if (!handle.ok()) return handle.status();
  handle_ = *handle;
  if (cancelled_) Cancel();
  return absl::OkStatus();
}

void EngineRequest::Cancel() {
  cancelled_ = true;
  const engine::RequestHandle handle = handle_;
  if (handle == 0) return;
  context_->engine->Cancel(handle, absl::Now() >= deadline_
                                       ? absl::DeadlineExceededError("the deadline has passed")
                                       : absl::CancelledError("cancelled by the client"));
}

void EngineRequest::Resume() {
  if (const engine::RequestHandle handle = handle_; handle != 0) context_->engine->Resume(handle);
}

void EngineRequest::Report(const absl::Status& status, const engine::Completion* completion,
                           ScoredSum scored) {
  pin_.Release();
  if (!context_->on_request_done) return;
  RequestOutcome outcome;
  outcome.method = method_;
  outcome.request_id = request_id_;
  outcome.status = status;
  outcome.completion = completion;
  outcome.scored = scored;
  if (assignment_.policy != nullptr) {
    outcome.arm_id = assignment_.arm_id;
    outcome.policy_id = assignment_.policy->spec().policy_id;
    outcome.generation = stamp_.generation();
    outcome.assignment = assignment_.reason;
  }
  context_->on_request_done(outcome);
}

}  // namespace olmoe::rpc
