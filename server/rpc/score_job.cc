#include "server/rpc/score_job.h"

#include <utility>

#include "glog/logging.h"
#include "server/rpc/request_cost.h"
#include "server/rpc/score_request.h"

namespace olmoe::rpc {

absl::Status ScoreJob::Prepare(const v1::ScoreRequest& message, const Interrupt& interrupt) {
  absl::StatusOr<ScoreInput> input = ParseScore(message, request_.context(), interrupt);
  if (!input.ok()) return input.status();
  if (absl::Status status = hold_.Resize(MemoryOf(*input, request_.context().model));
      !status.ok()) {
    return status;
  }
  collector_.emplace(std::move(input->items), input->work.windows.size(), input->per_token);
  work_ = std::move(input->work);
  return request_.Admit(input->routing, std::move(input->request_id));
}

absl::Status ScoreJob::Submit(absl::Time deadline) {
  return request_.Submit(std::move(work_), deadline, shared_from_this());
}

engine::Flow ScoreJob::OnTokens(engine::GenerateDelta) {
  LOG(FATAL) << "a score has no tokens";
  return engine::Flow::kContinue;
}

engine::Flow ScoreJob::OnScores(engine::WindowScores scores) {
  collector_->Add(std::move(scores));
  return engine::Flow::kContinue;
}

void ScoreJob::OnDone(const engine::Completion& completion) {
  if (!completion.status.ok()) {
    request_.Report(completion.status, &completion);
    done_(*this, completion.status);
    return;
  }
  v1::ScoreResponse response = collector_->Response(completion);
  response.set_request_id(request_.request_id());
  *response.mutable_routing() = request_.stamp();
  request_.Report(completion.status, &completion, {collector_->logprob_sum(), collector_->num_scored()});
  done_(*this, std::move(response));
}

}  // namespace olmoe::rpc
