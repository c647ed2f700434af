#include "client/bench/runner.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <variant>

namespace olmoe::client::bench {
namespace {

// Between two looks at a run where nothing happens.
constexpr absl::Duration kTick = absl::Milliseconds(200);
// A closed loop would storm a server that refuses at once.
constexpr absl::Duration kPauseAfterError = absl::Milliseconds(10);

}  // namespace

Runner::Runner(const Options& options, const Traffic* traffic, Target* target, Clock* clock)
    : options_(options),
      traffic_(traffic),
      target_(target),
      clock_(clock),
      start_(clock->Now()),
      window_{.begin = start_ + options.warmup, .end = start_ + options.warmup + options.duration},
      recorder_(window_) {
  if (options_.arrivals) arrivals_.emplace(*options_.arrivals);
}

Measurement Runner::Run(const std::function<void(const Progress&)>& on_progress) {
  on_progress_ = on_progress;
  while (const auto due = NextTurn()) Send(*due);
  WaitForAll();
  absl::MutexLock lock(&mu_);
  return std::move(recorder_).Finish(clock_->Now());
}

void Runner::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
    changed_.Signal();
  }
  target_->CancelAll();
}

std::optional<absl::Time> Runner::NextTurn() {
  absl::MutexLock lock(&mu_);
  if (options_.requests > 0 && measured_due_ >= options_.requests) return std::nullopt;
  const auto due = arrivals_ ? NextOpen() : NextClosed();
  if (!due) return std::nullopt;
  if (*due >= window_.begin) ++measured_due_;
  ++in_flight_;
  Tell();
  return due;
}

std::optional<absl::Time> Runner::NextClosed() {
  for (;;) {
    const absl::Time now = clock_->Now();
    if (stopped_ || now >= window_.end) return std::nullopt;
    const bool has_slot = in_flight_ < options_.concurrency;
    if (has_slot && now >= not_before_) return now;
    Wait(has_slot ? std::min(not_before_, window_.end) : window_.end);
  }
}

std::optional<absl::Time> Runner::NextOpen() {
  for (;;) {
    const absl::Time due = start_ + arrivals_->Next();
    if (due >= window_.end) return std::nullopt;
    while (!stopped_ && clock_->Now() < due) Wait(due);
    if (stopped_) return std::nullopt;
    if (in_flight_ < options_.max_in_flight) return due;
    recorder_.AddDropped(due);
    if (due < window_.begin) continue;
    if (++measured_due_ == options_.requests) return std::nullopt;
  }
}

void Runner::Send(absl::Time due) {
  const absl::Time sent = clock_->Now();
  const uint64_t index = next_index_++;
  const BenchRequest request = traffic_->Make(index);
  auto timer = std::make_shared<OutcomeTimer>(due, sent, window_, Traffic::UnitOf(request, index));
  if (const auto* score = std::get_if<v1::ScoreRequest>(&request)) {
    target_->Score(*score, [this, timer](const absl::StatusOr<v1::ScoreResponse>& response) {
      Done(timer->Finish(response, clock_->Now()));
    });
    return;
  }
  target_->Generate(
      std::get<v1::GenerateRequest>(request),
      [this, timer](const v1::GenerateStreamResponse& event) {
        timer->OnEvent(event, clock_->Now());
      },
      [this, timer](const absl::Status& status) { Done(timer->Finish(status, clock_->Now())); });
}

void Runner::Done(Outcome outcome) {
  absl::MutexLock lock(&mu_);
  outcome.abandoned = stopped_ && absl::IsCancelled(outcome.status);
  recorder_.Add(outcome);
  if (!outcome.status.ok()) not_before_ = outcome.done + kPauseAfterError;
  --in_flight_;
  changed_.Signal();  // with the lock: Run may return, and this end, as soon as it is free
}

void Runner::WaitForAll() {
  absl::MutexLock lock(&mu_);
  while (in_flight_ > 0) Wait(absl::InfiniteFuture());
}

void Runner::Wait(absl::Time until) {
  clock_->Wait(&changed_, &mu_, std::min(until, clock_->Now() + kTick));
  Tell();
}

void Runner::Tell() {
  const Measurement& measurement = recorder_.measurement();
  on_progress_({.elapsed = clock_->Now() - start_,
                .requests = measurement.all.requests,
                .tokens = measurement.all.completion_tokens,
                .errors = measurement.all.ErrorSum(),
                .in_flight = in_flight_});
}

}  // namespace olmoe::client::bench
