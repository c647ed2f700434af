#include "server/log/request_log.h"

#include <utility>

namespace olmoe::log {
namespace {

// To microseconds: no clock says more.
double Seconds(absl::Duration duration) {
  return static_cast<double>(absl::ToInt64Microseconds(duration)) / 1e6;
}

LogLine LineOf(const FinishedRequest& request, absl::Time now) {
  LogLine line{.time = now, .message = "request", .fields = {}};
  line.fields = {{"method", std::string(request.method)},
                 {"request_id", std::string(request.request_id)},
                 {"code", std::string(request.code)}};
  if (!request.arm_id.empty()) {
    line.fields.emplace_back("arm", std::string(request.arm_id));
    line.fields.emplace_back("generation", request.generation);
    line.fields.emplace_back("policy", std::string(request.policy_id));
  }
  if (!request.finish_reason.empty()) {
    line.fields.emplace_back("finish_reason", std::string(request.finish_reason));
  }
  if (request.work) {
    line.fields.emplace_back("prompt_tokens", request.work->prompt_tokens);
    line.fields.emplace_back("completion_tokens", request.work->completion_tokens);
    line.fields.emplace_back("queue_seconds", Seconds(request.work->queue));
    line.fields.emplace_back("ttft_seconds", Seconds(request.work->time_to_first_token));
    line.fields.emplace_back("total_seconds", Seconds(request.work->total));
  }
  return line;
}

}  // namespace

RequestLog::RequestLog(Options options, LineWriter* writer)
    : options_(std::move(options)), writer_(writer), refused_(options_.refused) {}

RequestLog::~RequestLog() {
  absl::MutexLock lock(&mu_);
  TellSuppressed(absl::InfiniteFuture(), options_.now());
}

void RequestLog::Add(const FinishedRequest& request) {
  const absl::Time now = options_.now();
  {
    absl::MutexLock lock(&mu_);
    TellSuppressed(now, now);
    if (!request.work && !refused_.Allow(std::string(request.code), now)) return;
  }
  writer_->Write(FormatLine(LineOf(request, now), options_.format));
}

void RequestLog::TellSuppressed(absl::Time over, absl::Time now) {
  for (const auto& [code, count] : refused_.TakeOver(over)) {
    LogLine line{.time = now, .severity = "WARNING", .message = "refused requests", .fields = {}};
    line.fields = {{"code", code}, {"suppressed", count}};
    writer_->Write(FormatLine(line, options_.format));
  }
}

}  // namespace olmoe::log
