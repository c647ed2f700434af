#include "server/log/request_log.h"

#include <string>
#include <utility>

#include "absl/strings/str_join.h"

namespace olmoe::log {
namespace {

// To microseconds: no clock says more.
double Seconds(absl::Duration duration) {
  return static_cast<double>(absl::ToInt64Microseconds(duration)) / 1e6;
}

// Of every completion of the request: "eos", "eos,length".
std::string FinishReasons(const engine::Completion& completion) {
  return absl::StrJoin(
      completion.choices, ",", [](std::string* out, const engine::ChoiceEnd& choice) {
        *out += engine::kFinishReasonNames[static_cast<size_t>(choice.finish_reason)];
      });
}

LogLine LineOf(const engine::RequestOutcome& outcome, absl::Time now) {
  LogLine line{.time = now, .message = "request", .fields = {}};
  line.fields = {{"method", std::string(outcome.method)},
                 {"protocol", std::string(outcome.protocol)},
                 {"request_id", outcome.request_id},
                 {"code", outcome.code()}};
  if (!outcome.arm_id.empty()) {
    line.fields.emplace_back("arm", outcome.arm_id);
    line.fields.emplace_back("generation", outcome.generation);
    line.fields.emplace_back("policy", outcome.policy_id);
  }
  if (outcome.completion == nullptr) return line;
  const engine::Completion& completion = *outcome.completion;
  if (outcome.status.ok() && !completion.choices.empty()) {
    line.fields.emplace_back("finish_reason", FinishReasons(completion));
  }
  line.fields.emplace_back("prompt_tokens", uint64_t{completion.prompt_tokens});
  line.fields.emplace_back("completion_tokens", uint64_t{completion.completion_tokens});
  line.fields.emplace_back("queue_seconds", Seconds(completion.timing.queue));
  line.fields.emplace_back("ttft_seconds", Seconds(completion.timing.time_to_first_token));
  line.fields.emplace_back("total_seconds", Seconds(completion.timing.total));
  return line;
}

}  // namespace

RequestLog::RequestLog(Options options, LineWriter* writer)
    : options_(std::move(options)), writer_(writer), refused_(options_.refused) {}

RequestLog::~RequestLog() {
  absl::MutexLock lock(&mu_);
  TellSuppressed(absl::InfiniteFuture(), options_.now());
}

void RequestLog::Add(const engine::RequestOutcome& outcome) {
  const absl::Time now = options_.now();
  {
    absl::MutexLock lock(&mu_);
    TellSuppressed(now, now);
    if (outcome.completion == nullptr && !refused_.Allow(outcome.code(), now)) return;
  }
  writer_->Write(FormatLine(LineOf(outcome, now), options_.format));
}

void RequestLog::TellSuppressed(absl::Time over, absl::Time now) {
  for (const auto& [code, count] : refused_.TakeOver(over)) {
    LogLine line{.time = now, .severity = "WARNING", .message = "refused requests", .fields = {}};
    line.fields = {{"code", code}, {"suppressed", count}};
    writer_->Write(FormatLine(line, options_.format));
  }
}

}  // namespace olmoe::log
