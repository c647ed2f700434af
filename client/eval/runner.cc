#include "client/eval/runner.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "server/util/sha256.h"

namespace olmoe::client::eval {
namespace {

// Without an answer in between: then it is not only busy.
constexpr int kMaxRefusals = 100;

// How long a full server wants to be left alone; nullopt for another error.
std::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  if (status.code() != absl::StatusCode::kResourceExhausted) return std::nullopt;
  const auto payload = status.GetPayload("type.googleapis.com/google.rpc.RetryInfo");
  google::rpc::RetryInfo retry;
  if (!payload || !retry.ParseFromString(std::string(*payload))) return std::nullopt;
  const absl::Duration delay =
      absl::Seconds(retry.retry_delay().seconds()) + absl::Nanoseconds(retry.retry_delay().nanos());
  return std::clamp(delay, absl::Milliseconds(10), absl::Seconds(5));
}

// Whether no continuation of the unit has a token of its own.
bool IsMerged(const absl::Status& status) {
  const auto payload = status.GetPayload("type.googleapis.com/google.rpc.ErrorInfo");
  google::rpc::ErrorInfo info;
  return payload && info.ParseFromString(std::string(*payload)) &&
         info.reason() == "CONTINUATION_MERGED";
}

// One data set under one subject: what is to be asked, and what was answered.
// Thread-compatible.
class Pass {
 public:
  Pass(const Dataset& dataset, const Subject& subject, const std::string& model_key,
       Journal* journal, const EvalRunner::OnProgress& on_progress)
      : dataset_(dataset),
        subject_(subject),
        journal_(journal),
        on_progress_(on_progress),
        results_(dataset.units.size()) {
    for (size_t i = 0; i < dataset.units.size(); ++i) {
      keys_.push_back(
          Sha256Hex(absl::StrCat(model_key, "|", subject.digest, "|", dataset.units[i].digest)));
      if (const UnitResult* known = journal->Find(keys_.back())) {
        results_[i] = *known;
        ++done_;
      } else {
        waiting_.push_back(i);
      }
    }
  }

  bool complete() const { return done_ == results_.size(); }
  const std::vector<UnitResult>& results() const { return results_; }
  const absl::Status& status() const { return status_; }

  // The next request, if there is one.
  bool Next(v1::ScoreRequest* request) {
    if (waiting_.empty()) return false;
    const size_t unit = waiting_.front();
    waiting_.pop_front();
    *request = dataset_.units[unit].request;
    request->set_request_id(absl::StrCat("eval-", unit));
    request->set_unit_id("olmoectl-eval");  // a plan with several arms: always the same
    *request->mutable_routing() = subject_.selector;
    return true;
  }

  // False where the pass has failed.
  bool OnAnswer(const std::string& request_id, const absl::StatusOr<v1::ScoreResponse>& response) {
    size_t unit = 0;
    if (!absl::SimpleAtoi(request_id.substr(std::min<size_t>(5, request_id.size())), &unit) ||
        unit >= results_.size()) {
      status_ = response.ok() ? absl::InternalError("the server answered what was not asked")
                              : response.status();
      return false;
    }
    const auto delay = RetryDelay(response.status());
    if (delay && ++refusals_ <= kMaxRefusals) {
      waiting_.push_back(unit);
      absl::SleepFor(*delay);
      return true;
    }
    if (IsMerged(response.status())) {
      status_ = Take(unit, kSkippedUnit);
    } else {
      status_ = response.ok() ? Accept(unit, *response) : response.status();
    }
    if (status_.ok()) return true;
    absl::Status named(status_.code(),
                       absl::StrCat(dataset_.name, ", unit ", unit + 1, " of ", results_.size(),
                                    ", ", subject_.name, ": ", status_.message()));
    status_.ForEachPayload(
        [&named](absl::string_view url, const absl::Cord& value) { named.SetPayload(url, value); });
    status_ = std::move(named);
    return false;
  }

 private:
  absl::Status Accept(size_t unit, const v1::ScoreResponse& response) {
    if (response.routing().policy_digest() != subject_.digest) {
      return absl::AbortedError("the server's routing has changed during the evaluation");
    }
    const EvalUnit& asked = dataset_.units[unit];
    const auto result = ReadResult(response, asked.windows, asked.choice);
    return result.ok() ? Take(unit, *result) : result.status();
  }

  absl::Status Take(size_t unit, UnitResult result) {
    // The wall time since the unit before: their sum is the time of the pass.
    const absl::Time now = absl::Now();
    result.seconds = absl::ToDoubleSeconds(now - last_);
    last_ = now;
    rows_ += result.rows;
    results_[unit] = result;
    ++done_;
    refusals_ = 0;
    const double elapsed = absl::ToDoubleSeconds(now - start_);
    on_progress_(done_, results_.size(), elapsed > 0 ? static_cast<double>(rows_) / elapsed : 0);
    // What was not computed need not be kept.
    if (result.skipped > 0) return absl::OkStatus();
    return journal_->Add(keys_[unit], dataset_.name, subject_.name, result);
  }

  const Dataset& dataset_;
  const Subject& subject_;
  Journal* const journal_;
  const EvalRunner::OnProgress& on_progress_;
  std::vector<std::string> keys_;
  std::deque<size_t> waiting_;  // units not asked for
  std::vector<UnitResult> results_;
  absl::Status status_;
  const absl::Time start_ = absl::Now();
  absl::Time last_ = start_;
  size_t done_ = 0;
  int refusals_ = 0;  // since the last answer
  uint64_t rows_ = 0;
};

}  // namespace

absl::Status ResolveSubject(uint32_t prefix, transport::RpcClient& rpc, Subject* subject) {
  v1::ScoreRequest request;
  request.add_items()->mutable_continuation_tokens()->add_ids(prefix);
  request.set_unit_id("olmoectl-eval");
  *request.mutable_routing() = subject->selector;
  const auto response = rpc.Score(request);
  if (!response.ok()) return response.status();
  subject->digest = response->routing().policy_digest();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<UnitResult>> EvalRunner::Run(const Dataset& dataset,
                                                        const Subject& subject,
                                                        const OnProgress& on_progress) {
  Pass pass(dataset, subject, options_.model_key, journal_, on_progress);
  if (pass.complete()) return pass.results();
  const absl::Status status = rpc_->ScoreStream(
      options_.in_flight, [&pass](v1::ScoreRequest* request) { return pass.Next(request); },
      [&pass](const std::string& request_id, const absl::StatusOr<v1::ScoreResponse>& response) {
        return pass.OnAnswer(request_id, response);
      });
  if (!pass.status().ok()) return pass.status();
  if (!status.ok()) return status;
  if (!pass.complete()) return absl::InternalError("the server left requests unanswered");
  const std::vector<UnitResult>& results = pass.results();
  if (std::all_of(results.begin(), results.end(),
                  [](const UnitResult& result) { return result.skipped > 0; })) {
    return absl::InvalidArgumentError(
        absl::StrCat(dataset.name,
                     ": no question can be asked: of each a continuation merges "
                     "into its context, so it has no token to score"));
  }
  return results;
}

}  // namespace olmoe::client::eval
