#include "client/eval/runner.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/eval/traced.h"
#include "google/rpc/error_details.pb.h"
#include "server/util/sha256.h"
#include "server/util/status_details.h"

namespace olmoe::client::eval {
namespace {

// Without an answer in between: then it is not only busy.
constexpr int kMaxRefusals = 100;

// How long a full server wants to be left alone; nullopt for another error.
std::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  if (status.code() != absl::StatusCode::kResourceExhausted) return std::nullopt;
  const auto retry = DetailOf<google::rpc::RetryInfo>(status);
  if (!retry) return std::nullopt;
  const absl::Duration delay = absl::Seconds(retry->retry_delay().seconds()) +
                               absl::Nanoseconds(retry->retry_delay().nanos());
  return std::clamp(delay, absl::Milliseconds(10), absl::Seconds(5));
}

// Whether no continuation of the unit has a token of its own.
bool IsMerged(const absl::Status& status) {
  const auto info = DetailOf<google::rpc::ErrorInfo>(status);
  return info && info->reason() == "CONTINUATION_MERGED";
}

// One data set under one subject: what is to be asked, and what was answered.
// Thread-compatible.
class Pass {
 public:
  Pass(const Dataset& dataset, const Subject& subject, const EvalRunner::Options& options,
       Journal* journal, const EvalRunner::OnProgress& on_progress)
      : dataset_(dataset),
        subject_(subject),
        options_(options),
        shape_(ShapeOf(options.model)),
        journal_(journal),
        on_progress_(on_progress),
        results_(dataset.units.size()) {
    if (options.count_experts) {
      experts_.resize(static_cast<size_t>(shape_.num_layers) *
                      static_cast<size_t>(shape_.num_experts));
    }
    const std::string model_key = ModelKey(options);
    for (size_t i = 0; i < dataset.units.size(); ++i) {
      keys_.push_back(
          Sha256Hex(absl::StrCat(model_key, "|", subject.digest, "|", dataset.units[i].digest)));
      if (TakeKnown(i)) {
        ++done_;
      } else {
        waiting_.push_back(i);
      }
    }
  }

  bool complete() const { return done_ == results_.size(); }
  PassResult TakeResults() { return {std::move(results_), std::move(experts_)}; }
  const absl::Status& status() const { return status_; }

  // The next request, if there is one.
  bool Next(v1::ScoreRequest* request) {
    if (waiting_.empty()) return false;
    const size_t unit = waiting_.front();
    waiting_.pop_front();
    *request = RequestOf(unit);
    request->set_request_id(absl::StrCat("eval-", unit));
    request->set_unit_id("olmoectl-eval");  // a plan with several arms: always the same
    *request->mutable_routing() = subject_.selector;
    const bool analyzes = subject_.analyzer != nullptr;
    if (options_.count_experts || analyzes) request->mutable_trace()->set_experts(true);
    if (analyzes) request->mutable_trace()->set_logits(true);
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
    auto result = ReadResult(response, asked.windows, asked.choice);
    if (!result.ok()) return result.status();
    if (result->skipped > 0) return Take(unit, *result);
    if (subject_.analyzer) {
      auto status = subject_.analyzer->Add(RequestOf(unit), response, &*result);
      if (!status.ok()) return status;
    }
    ExpertCounts experts(experts_.size());
    if (options_.count_experts) {
      if (auto status = CountExperts(response, shape_, &experts); !status.ok()) return status;
    }
    return Take(unit, *result, experts);
  }

  // What the numbers depend on beside unit and policy.
  static std::string ModelKey(const EvalRunner::Options& options) {
    std::string key = absl::StrCat(options.model.weights_digest(), "|", options.model.dtype());
    if (options.routing_seed != 0) absl::StrAppend(&key, "|seed ", options.routing_seed);
    return key;
  }

  // False where the journal does not have all of the unit that is asked for.
  bool TakeKnown(size_t unit) {
    const UnitResult* known = journal_->Find(keys_[unit]);
    if (known == nullptr || (subject_.analyzer && known->analyzed_slots == 0)) return false;
    if (options_.count_experts && !journal_->AddExpertsOf(keys_[unit], &experts_)) return false;
    results_[unit] = *known;
    return true;
  }

  v1::ScoreRequest RequestOf(size_t unit) const {
    v1::ScoreRequest request = dataset_.units[unit].request;
    if (options_.routing_seed != 0) request.set_routing_seed(options_.routing_seed);
    return request;
  }

  // `experts`: its share of experts_.
  absl::Status Take(size_t unit, UnitResult result, const ExpertCounts& experts = {}) {
    for (size_t i = 0; i < experts.size(); ++i) experts_[i] += experts[i];
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
    return journal_->Add(keys_[unit], dataset_.name, subject_.name, result, experts);
  }

  const Dataset& dataset_;
  const Subject& subject_;
  const EvalRunner::Options& options_;
  const routing::RouterShape shape_;
  Journal* const journal_;
  const EvalRunner::OnProgress& on_progress_;
  std::vector<std::string> keys_;
  std::deque<size_t> waiting_;  // units not asked for
  std::vector<UnitResult> results_;
  ExpertCounts experts_;  // empty unless they are counted
  absl::Status status_;
  const absl::Time start_ = absl::Now();
  absl::Time last_ = start_;
  size_t done_ = 0;
  int refusals_ = 0;  // since the last answer
  uint64_t rows_ = 0;
};

}  // namespace

absl::Status ResolveSubject(const v1::GetModelInfoResponse& model, transport::RpcClient& rpc,
                            Subject* subject) {
  v1::ScoreRequest request;
  request.add_items()->mutable_continuation_tokens()->add_ids(transport::PrefixToken(model));
  request.set_unit_id("olmoectl-eval");
  *request.mutable_routing() = subject->selector;
  const auto response = rpc.Score(request);
  if (!response.ok()) return response.status();
  subject->digest = response->routing().policy_digest();
  if (!subject->selector.has_policy()) return absl::OkStatus();
  auto analyzer = Analyzer::Create(subject->selector.policy(), model, rpc);
  if (!analyzer.ok()) return analyzer.status();
  subject->analyzer = *std::move(analyzer);
  return absl::OkStatus();
}

absl::StatusOr<PassResult> EvalRunner::Run(const Dataset& dataset, const Subject& subject,
                                           const OnProgress& on_progress) {
  Pass pass(dataset, subject, options_, journal_, on_progress);
  if (pass.complete()) return pass.TakeResults();
  const absl::Status status = rpc_->ScoreStream(
      options_.in_flight, [&pass](v1::ScoreRequest* request) { return pass.Next(request); },
      [&pass](const std::string& request_id, const absl::StatusOr<v1::ScoreResponse>& response) {
        return pass.OnAnswer(request_id, response);
      });
  if (!pass.status().ok()) return pass.status();
  if (!status.ok()) return status;
  if (!pass.complete()) return absl::InternalError("the server left requests unanswered");
  PassResult results = pass.TakeResults();
  if (std::all_of(results.units.begin(), results.units.end(),
                  [](const UnitResult& result) { return result.skipped > 0; })) {
    return absl::InvalidArgumentError(
        absl::StrCat(dataset.name,
                     ": no question can be asked: of each a continuation merges "
                     "into its context, so it has no token to score"));
  }
  return results;
}

}  // namespace olmoe::client::eval
