#ifndef OLMOE_SERVER_RPC_SCORE_JOB_H_
#define OLMOE_SERVER_RPC_SCORE_JOB_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "olmoe/v1/inference.pb.h"
#include "server/api/score_response.h"
#include "server/engine/token_sink.h"
#include "server/experiment/engine_request.h"
#include "server/limits/request_memory.h"
#include "server/util/interrupt.h"

namespace olmoe::rpc {

// One ScoreRequest, of a Score call or of a ScoreStream: Prepare, Submit, then one
// call of `done`. Shared with the engine while that delivers. Prepare and Submit: one
// thread; Cancel: any thread, any time; `done` comes on the engine's thread.
class ScoreJob final : public engine::ScoreSink, public std::enable_shared_from_this<ScoreJob> {
 public:
  using Done = std::function<void(ScoreJob&, absl::StatusOr<v1::ScoreResponse>)>;

  // `hold`: of nothing yet, for the memory that the job needs.
  ScoreJob(const experiment::Serving* serving, std::string_view method, std::string client,
           limits::RequestMemory::Hold hold, Done done)
      : request_(serving, method, std::move(client)),
        hold_(std::move(hold)),
        done_(std::move(done)) {}

  // Checks, tokenizes, holds memory, pins the plan. An error: Submit must not follow.
  absl::Status Prepare(const v1::ScoreRequest& message, const Interrupt& interrupt);
  // An error: `done` is not called.
  absl::Status Submit(absl::Time deadline);
  void Cancel() { request_.Cancel(); }
  // For a job that Prepare or Submit refused.
  void ReportRefused(const absl::Status& status) { request_.Report(status, nullptr); }

  // Stamped after Prepare.
  const experiment::EngineRequest& request() const { return request_; }
  // What the answer holds until it is written; the job is done.
  limits::RequestMemory::Hold TakeHold() { return std::move(hold_); }

  engine::Flow OnScores(engine::WindowScores scores) override;
  void OnDone(const engine::Completion& completion) override;

 private:
  experiment::EngineRequest request_;
  limits::RequestMemory::Hold hold_;  // for the work and its answer
  Done done_;
  engine::ScoreWork work_;  // until Submit
  std::optional<api::ScoreCollector> collector_;  // engine thread only, after Submit
};

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_SCORE_JOB_H_
