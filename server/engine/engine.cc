// What any thread may call. The engine thread's side is engine_loop.cc.
#include "server/engine/engine.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/util/status_details.h"

namespace olmoe::engine {

bool Engine::Mail::empty() const {
  return submitted.empty() && cancelled.empty() && resumed.empty() && taps.empty() &&
         untapped.empty() && !untap_all && !cancel_all && !stop;
}

std::unique_ptr<Engine> Engine::Create(EngineOptions options, model::Model* model,
                                       const text::Tokenizer* tokenizer, StepObserver observer) {
  CHECK(model != nullptr);
  CHECK_GE(options.max_queue, 1);
  // The constructor is private, so make_unique cannot call it.
  std::unique_ptr<Engine> engine(
      new Engine(std::move(options), model, tokenizer, std::move(observer)));
  engine->thread_ = std::thread([engine = engine.get()] { engine->Run(); });
  return engine;
}

Engine::Engine(EngineOptions options, model::Model* model, const text::Tokenizer* tokenizer,
               StepObserver observer)
    : options_(std::move(options)),
      model_(model),
      tokenizer_(tokenizer),
      observer_(std::move(observer)),
      scheduler_(options_.scheduler(), model->kv_cache()),
      taps_([this] { OnTapEnded(); }) {}

Engine::~Engine() {
  {
    absl::MutexLock lock(&mu_);
    draining_ = true;
    mail_.stop = true;
  }
  if (thread_.joinable()) thread_.join();  // unless there was no thread for it
}

absl::StatusOr<RequestHandle> Engine::Submit(Request request, Sink sink) {
  CHECK_EQ(sink.index(), request.work.index());
  CheckValid(request, model_->info());
  if (absl::Status status = CheckFits(request); !status.ok()) return status;
  const absl::Time now = options_.now();
  if (request.deadline <= now) {
    return absl::DeadlineExceededError("the deadline had passed when the request arrived");
  }
  // Made before and, if refused, deleted after the mutex is held.
  auto live = std::make_unique<LiveRequest>(std::move(request), std::move(sink), now,
                                            model_->info(), tokenizer_);
  absl::MutexLock lock(&mu_);
  if (absl::Status refusal = Refusal(live->request().client, now); !refusal.ok()) return refusal;
  const RequestHandle handle = Track(*live);
  live->set_handle(handle);
  mail_.submitted.push_back(std::move(live));
  return handle;
}

absl::Status Engine::CheckFits(const Request& request) const {
  const model::KvCacheShape& kv = model_->kv_cache();
  const int64_t positions = MaxKvPositions(request);
  const int64_t capacity = int64_t{kv.num_pages} * kv.page_tokens;
  if (positions <= capacity) return absl::OkStatus();
  return WithErrorInfo(
      absl::ResourceExhaustedError(absl::StrCat("a sequence of the request needs ", positions,
                                                " positions of the KV cache, which has ",
                                                capacity)),
      "KV_CAPACITY",
      {{"needed_positions", absl::StrCat(positions)}, {"capacity", absl::StrCat(capacity)}});
}

absl::Status Engine::Refusal(const std::string& client, absl::Time now) const {
  // After Choudhury and Hahne's dynamic thresholds: alone a client gets nearly all of the queue.
  constexpr int kPlacesForEachFree = 8;
  if (draining_) {
    return WithRetryDelay(absl::UnavailableError("the server is shutting down"),
                          std::clamp(drain_deadline_ - now, absl::Seconds(1), absl::Minutes(1)));
  }
  const int free = options_.max_queue - num_queued_;
  const auto own = queued_of_client_.find(client);
  const int num_own = client.empty() || own == queued_of_client_.end() ? 0 : own->second;
  if (free > 0 && num_own < kPlacesForEachFree * free) return absl::OkStatus();
  return WithRetryDelay(
      absl::ResourceExhaustedError(
          free > 0 ? absl::StrCat("your share of the queue is full: ", num_own, " requests wait")
                   : absl::StrCat("the queue is full: ", num_queued_, " requests wait")),
      queue_rate_.TimeToServe(num_queued_, now));
}

RequestHandle Engine::Track(const LiveRequest& live) {
  const Request& request = live.request();
  if (num_queued_ == 0) queue_rate_.OnBusy(live.submitted());
  ++num_queued_;
  ++queued_of_client_[request.client];
  ++arms_[request.assignment.arm_id].queued;
  ++num_undone_;
  const RequestHandle handle = next_handle_++;
  Tracked& tracked = tracked_[handle];
  tracked.submitted = live.submitted();
  tracked.client = request.client;
  tracked.request.request_id = request.request_id;
  tracked.request.method = std::holds_alternative<ScoreWork>(request.work) ? "score" : "generate";
  tracked.request.arm_id = request.assignment.arm_id;
  tracked.request.generation = request.pin ? request.pin->generation() : 0;
  tracked.request.prompt_tokens = live.prompt_tokens();
  return handle;
}

void Engine::Cancel(RequestHandle handle, absl::Status status) {
  CHECK(!status.ok());
  absl::MutexLock lock(&mu_);
  if (!tracked_.contains(handle)) return;
  mail_.cancelled.push_back({handle, std::move(status)});
}

void Engine::Resume(RequestHandle handle) {
  absl::MutexLock lock(&mu_);
  if (!tracked_.contains(handle)) return;
  mail_.resumed.push_back(handle);
}

absl::StatusOr<TapHandle> Engine::Tap(LogitTap tap) {
  CHECK(tap.on_rows != nullptr && tap.on_done != nullptr);
  absl::MutexLock lock(&mu_);
  if (draining_) return absl::UnavailableError("the server is shutting down");
  ++num_undone_;
  ++num_taps_;
  mail_.taps.push_back({next_tap_, std::move(tap)});
  return next_tap_++;
}

void Engine::Untap(TapHandle handle, absl::Status status) {
  CHECK(!status.ok());
  absl::MutexLock lock(&mu_);
  mail_.untapped.push_back({handle, std::move(status)});
}

int Engine::Drain(absl::Time deadline) {
  CHECK(std::this_thread::get_id() != thread_.get_id()) << "Drain waits for this thread";
  absl::MutexLock lock(&mu_);
  draining_ = true;
  drain_time_ = std::min(drain_time_, options_.now());
  mail_.untap_all = true;
  drain_deadline_ = std::min(drain_deadline_, deadline);
  const absl::Condition all_done(this, &Engine::AllDone);
  if (mu_.AwaitWithTimeout(all_done, deadline - options_.now())) return 0;
  mail_.cancel_all = true;
  mu_.Await(all_done);
  return num_cut_off_;
}

EngineLoad Engine::Load() const {
  const model::KvCacheShape& kv = model_->kv_cache();
  EngineLoad load;
  load.kv_capacity_bytes = kv.num_pages * kv.page_bytes;
  absl::MutexLock lock(&mu_);
  load.prefix_cache_bytes = num_kept_pages_ * kv.page_bytes;
  load.arms = arms_;
  load.queued_requests = num_queued_;
  load.kv_used_bytes = num_used_pages_ * kv.page_bytes;
  return load;
}

EngineStatus Engine::Status() const {
  const model::KvCacheShape& kv = model_->kv_cache();
  const absl::Time now = options_.now();
  EngineStatus status;
  status.kv_capacity_bytes = kv.num_pages * kv.page_bytes;
  absl::MutexLock lock(&mu_);
  status.prefix_cache_bytes = num_kept_pages_ * kv.page_bytes;
  status.cached_prompt_tokens = cached_prompt_tokens_;
  status.queued_requests = num_queued_;
  status.running_requests = static_cast<int>(tracked_.size()) - num_queued_;
  status.kv_used_bytes = num_used_pages_ * kv.page_bytes;
  status.draining = draining_;
  status.drain_time = drain_time_;
  status.taps = num_taps_;
  status.requests.reserve(tracked_.size());
  for (const auto& [handle, tracked] : tracked_) {
    status.requests.push_back(tracked.request);
    status.requests.back().age = now - tracked.submitted;
  }
  return status;
}

}  // namespace olmoe::engine
