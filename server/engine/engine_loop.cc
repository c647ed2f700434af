// The engine thread. What other threads call is engine.cc.
#include <pthread.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/engine/engine.h"
#include "server/engine/trace.h"

namespace olmoe::engine {
namespace {

TracedRows RowsOf(const ScheduledChunk& chunk) {
  return {.first_position = chunk.first_position,
          .first_row = chunk.first_row,
          .num_rows = chunk.num_rows};
}

}  // namespace

void Engine::Run() {
  pthread_setname_np(pthread_self(), "engine");
  absl::Time wake_at = absl::InfiniteFuture();
  while (true) {
    Mail mail = TakeMail(wake_at);
    const bool stop = mail.stop;
    HandleMail(std::move(mail));
    if (stop) break;
    EndExpired();
    scheduler_.NextStep(&step_);
    const bool idle = step_.chunks.empty();
    if (!idle) RunStep();
    wake_at = idle ? NextDue() : absl::InfinitePast();
  }
  EndAll(absl::UnavailableError("the server is shutting down"));
  taps_.EndAll();
}

Engine::Mail Engine::TakeMail(absl::Time wake_at) {
  const absl::Duration patience =
      wake_at == absl::InfinitePast() ? absl::ZeroDuration() : wake_at - options_.now();
  absl::MutexLock lock(&mu_);
  mu_.AwaitWithTimeout(absl::Condition(this, &Engine::HasMail), patience);
  return std::exchange(mail_, Mail{});
}

void Engine::HandleMail(Mail mail) {
  for (std::unique_ptr<LiveRequest>& submitted : mail.submitted) {
    LiveRequest* const request = submitted.get();
    live_.emplace(request->handle(), std::move(submitted));
    scheduler_.Add(request);
  }
  for (RequestHandle handle : mail.resumed) {
    const auto found = live_.find(handle);
    if (found == live_.end() || found->second->state() != RequestState::kPaused) continue;
    found->second->TransitionTo(RequestState::kRunning);
  }
  for (Mail::Cancellation& cancellation : mail.cancelled) {
    End(cancellation.handle, std::move(cancellation.status));
  }
  HandleTapMail(&mail);
  if (mail.cancel_all) {
    {
      absl::MutexLock lock(&mu_);
      num_cut_off_ += static_cast<int>(live_.size());
    }
    EndAll(absl::UnavailableError("the server shut down before the request was finished"));
  }
}

void Engine::HandleTapMail(Mail* mail) {
  for (Mail::NewTap& added : mail->taps) taps_.Add(added.handle, std::move(added.tap));
  for (Mail::Cancellation& untapped : mail->untapped) {
    taps_.End(untapped.handle, std::move(untapped.status));
  }
  if (mail->untap_all) taps_.EndAll();
}

void Engine::OnTapEnded() {
  absl::MutexLock lock(&mu_);
  --num_taps_;
  --num_undone_;
}

void Engine::EndExpired() {
  const absl::Time now = options_.now();
  taps_.EndExpired(now);
  std::vector<std::pair<RequestHandle, absl::Status>> expired;
  for (const auto& [handle, request] : live_) {
    if (request->request().deadline <= now) {
      expired.emplace_back(
          handle, absl::DeadlineExceededError(absl::StrCat(
                      "the deadline passed after ", request->completion_tokens(), " tokens")));
    } else if (request->state() == RequestState::kPaused &&
               request->paused_since() + options_.slow_reader_timeout <= now) {
      expired.emplace_back(handle, absl::ResourceExhaustedError(absl::StrCat(
                                       "the reader was behind for ",
                                       absl::FormatDuration(options_.slow_reader_timeout))));
    }
  }
  for (auto& [handle, status] : expired) End(handle, std::move(status));
}

absl::Time Engine::NextDue() const {
  absl::Time due = taps_.NextDue();
  for (const auto& [handle, request] : live_) {
    due = std::min(due, request->request().deadline);
    if (request->state() != RequestState::kPaused) continue;
    due = std::min(due, request->paused_since() + options_.slow_reader_timeout);
  }
  return due;
}

void Engine::RunStep() {
  const absl::Time begin = options_.now();
  BeginStep(begin);
  taps_.Ask(&step_);
  const absl::Status status = model_->Step(step_.batch, &output_);
  const absl::Time end = options_.now();
  scheduler_.OnStepDone(step_, end - begin);
  for (const ScheduledChunk& chunk : step_.chunks) {
    chunk.sequence->Advance(chunk.num_rows);
    if (!status.ok()) SetOutcome(chunk.request, status);
  }
  if (status.ok()) {
    CHECK_EQ(output_.chunks.size(), step_.chunks.size());
    CHECK_EQ(output_.routing.num_rows(), step_.num_rows);
    Observe(begin, end);
    for (size_t i = 0; i < step_.chunks.size(); ++i) {
      if (output_.chunks[i].status.ok()) {
        step_.chunks[i].sequence->AddScores(std::move(output_.chunks[i].scored),
                                            step_.chunks[i].first_position);
        scheduler_.Keep(step_.chunks[i], output_.routing);
      }
      taps_.Deliver(step_.chunks[i], output_.chunks[i]);
      Deliver(step_.chunks[i], std::move(output_.chunks[i]), end);
    }
    PublishProgress();
  }
  EndRequestsWithOutcome();
}

void Engine::BeginStep(absl::Time now) {
  absl::MutexLock lock(&mu_);
  for (const ScheduledChunk& chunk : step_.chunks) {
    if (!chunk.request->OnStepBegin(now)) continue;
    LeaveQueue(&tracked_.at(chunk.request->handle()), now);
  }
  PublishPages();
}

void Engine::LeaveQueue(Tracked* tracked, absl::Time now) {
  CHECK(tracked->queued);
  tracked->queued = false;
  --num_queued_;
  if (const auto own = queued_of_client_.find(tracked->client); --own->second == 0) {
    queued_of_client_.erase(own);
  }
  EngineLoad::Arm& arm = arms_.at(tracked->request.arm_id);
  --arm.queued;
  ++arm.running;
  queue_rate_.OnDeparture(now);
}

void Engine::Untrack(RequestHandle handle) {
  const auto tracked = tracked_.find(handle);
  if (tracked->second.queued) LeaveQueue(&tracked->second, options_.now());
  const auto arm = arms_.find(tracked->second.request.arm_id);
  if (--arm->second.running == 0 && arm->second.queued == 0) arms_.erase(arm);
  tracked_.erase(tracked);
}

void Engine::Observe(absl::Time begin, absl::Time end) {
  if (observer_ == nullptr) return;
  step_rows_.clear();
  for (size_t i = 0; i < step_.chunks.size(); ++i) {
    const ScheduledChunk& chunk = step_.chunks[i];
    const bool next_token = chunk.phase == Phase::kDecode && output_.chunks[i].status.ok();
    step_rows_.push_back(
        {.assignment = &chunk.request->request().assignment,
         .phase = chunk.phase,
         .first_row = chunk.first_row,
         .num_rows = chunk.num_rows,
         .token_interval = next_token ? chunk.request->SinceOutput(end) : std::nullopt});
  }
  observer_(step_rows_, output_.routing, end - begin);
}

void Engine::Deliver(const ScheduledChunk& chunk, model::ChunkOutput output, absl::Time now) {
  chunk.request->AddRows(static_cast<uint64_t>(chunk.num_rows),
                         ExpertActivations(RowsOf(chunk), output_.routing));
  if (chunk.request->has_outcome()) return;  // another window of it has failed
  if (!output.status.ok()) {
    SetOutcome(chunk.request, std::move(output.status));
  } else if (chunk.phase == Phase::kScore) {
    DeliverScores(chunk, std::move(output), now);
  } else {
    DeliverToken(chunk, std::move(output), now);
  }
}

RoutingTrace Engine::TraceOf(const ScheduledChunk& chunk, const model::ChunkOutput& output) {
  RoutingTrace trace = chunk.sequence->TakeCached();
  // The prompt of several completions is told once.
  if (chunk.phase == Phase::kPrefill && chunk.sequence->index() > 0) return {};
  if (!chunk.request->trace().experts) trace = {};
  trace.Append(
      TraceRows(chunk.request->trace(), RowsOf(chunk), output_.routing, output.router_logits));
  return trace;
}

void Engine::DeliverToken(const ScheduledChunk& chunk, model::ChunkOutput output, absl::Time now) {
  LiveRequest* const request = chunk.request;
  Sequence* const sequence = chunk.sequence;
  const auto& work = std::get<GenerateWork>(request->request().work);
  GenerateDelta delta;
  delta.choice = sequence->index();
  delta.trace = TraceOf(chunk, output);
  delta.prompt_tokens = sequence->TakePromptScores();
  bool ends = false;
  if (sequence->num_pending() == 0) {
    request->OnOutput(now);
    ends = work.max_new_tokens == 0 || AddToken(sequence, *std::move(output.sampled), &delta);
  }
  if (ends) {
    delta.end = request->end_of(delta.choice);
    scheduler_.Release(sequence);
    if (request->OnSequenceDone()) SetOutcome(request, absl::OkStatus());
  }
  if (!ends && delta.tokens.empty() && delta.trace.num_positions == 0 &&
      delta.prompt_tokens.empty()) {
    return;
  }
  const auto& sink = std::get<std::shared_ptr<GenerateSink>>(request->sink());
  ObeyFlow(request, sink->OnTokens(std::move(delta)), now);
}

bool Engine::AddToken(Sequence* sequence, model::SampledToken sampled, GenerateDelta* delta) {
  LiveRequest* const request = sequence->request();
  const bool logprobs = std::get<GenerateWork>(request->request().work).logprobs;
  sequence->Append(sampled.token);
  StopCondition::Outcome outcome = request->AddToken(sequence->index(), sampled.token);
  delta->text = std::move(outcome.text);
  delta->tokens.push_back({.token = sampled.token,
                           .logprob = logprobs ? std::optional(sampled.logprob) : std::nullopt,
                           .top = std::move(sampled.top)});
  return outcome.finish.has_value();
}

void Engine::DeliverScores(const ScheduledChunk& chunk, model::ChunkOutput output, absl::Time now) {
  LiveRequest* const request = chunk.request;
  Sequence* const window = chunk.sequence;
  window->scores().trace.Append(TraceOf(chunk, output));
  if (window->num_pending() > 0) return;
  request->OnOutput(now);
  WindowScores scores = std::move(window->scores());
  scores.last_logits = std::move(output.last_logits);
  scheduler_.Release(window);
  if (request->OnSequenceDone()) SetOutcome(request, absl::OkStatus());
  const auto& sink = std::get<std::shared_ptr<ScoreSink>>(request->sink());
  ObeyFlow(request, sink->OnScores(std::move(scores)), now);
}

void Engine::ObeyFlow(LiveRequest* request, Flow flow, absl::Time now) {
  // Several windows may end in one step: the pause begins with the first that asked for it.
  if (flow == Flow::kPause && request->state() == RequestState::kRunning) request->Pause(now);
}

void Engine::PublishPages() {
  num_used_pages_ = scheduler_.used_pages();
  num_kept_pages_ = scheduler_.kept_pages();
}

void Engine::PublishProgress() {
  absl::MutexLock lock(&mu_);
  for (const ScheduledChunk& chunk : step_.chunks) {
    tracked_.at(chunk.request->handle()).request.completion_tokens =
        chunk.request->completion_tokens();
  }
  PublishPages();
}

void Engine::SetOutcome(LiveRequest* request, absl::Status status) {
  if (request->has_outcome()) return;
  request->SetOutcome(std::move(status));
  with_outcome_.push_back(request);
}

void Engine::EndRequestsWithOutcome() {
  for (LiveRequest* request : with_outcome_) End(request->handle(), request->outcome());
  with_outcome_.clear();
}

void Engine::EndAll(const absl::Status& status) {
  while (!live_.empty()) End(live_.begin()->first, status);
}

void Engine::End(RequestHandle handle, absl::Status status) {
  auto node = live_.extract(handle);
  if (node.empty()) return;
  std::unique_ptr<LiveRequest> request = std::move(node.mapped());
  request->TransitionTo(RequestState::kEnded);
  scheduler_.Remove(request.get());
  const Completion completion = request->MakeCompletion(std::move(status), options_.now());
  Sink sink = request->sink();
  // Whoever hears of the end finds the plan unpinned, the pages free and the status without it.
  request.reset();
  {
    absl::MutexLock lock(&mu_);
    Untrack(handle);
    cached_prompt_tokens_ += completion.cached_prompt_tokens;
    PublishPages();
  }
  std::visit(
      [&completion](auto& of_kind) {
        of_kind->OnDone(completion);
        of_kind.reset();
      },
      sink);
  absl::MutexLock lock(&mu_);
  --num_undone_;
}

}  // namespace olmoe::engine
