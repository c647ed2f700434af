#include "server/rpc/score_job.h"

#include <utility>

#include "server/api/conversions.h"
#include "server/api/request_cost.h"
#include "server/api/score_request.h"

namespace olmoe::rpc {

absl::Status ScoreJob::Prepare(const v1::ScoreRequest& message, const Interrupt& interrupt) {
  absl::StatusOr<api::ScoreInput> input = api::ParseScore(message, request_.serving(), interrupt);
  if (!input.ok()) return input.status();
  const int64_t bytes =
      api::MemoryOf(*input, request_.serving().model) + api::MemoryOf(input->routing);
  if (absl::Status status = hold_.Resize(bytes); !status.ok()) return status;
  collector_.emplace(std::move(input->items), input->work.windows.size(), input->per_token);
  work_ = std::move(input->work);
  return request_.Admit(input->routing, std::move(input->request_id));
}

absl::Status ScoreJob::Submit(absl::Time deadline) {
  return request_.Submit(std::move(work_), deadline, shared_from_this());
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
  *response.mutable_routing() = api::StampOf(request_);
  request_.Report(completion.status, &completion, collector_->logprob_sum(),
                  collector_->num_scored());
  done_(*this, std::move(response));
}

}  // namespace olmoe::rpc
