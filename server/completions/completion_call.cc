#include "server/completions/completion_call.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/api/request_cost.h"
#include "server/completions/errors.h"
#include "server/completions/responses.h"
#include "server/net/listener.h"
#include "server/routing/controller.h"

namespace olmoe::completions {
namespace {

constexpr char kMethod[] = "Completions";
// Of a stream, before its requests are paused: a delta is a token or so.
constexpr size_t kMaxEvents = 64;

std::vector<experiment::EngineRequest*> PointersTo(
    const std::vector<std::unique_ptr<experiment::EngineRequest>>& requests) {
  std::vector<experiment::EngineRequest*> pointers;
  for (const auto& request : requests) pointers.push_back(request.get());
  return pointers;
}

// What is to stay free when a call of `bytes` has entered, so that calls that wait in line do not
// take every byte that becomes free, and those of gRPC and of the operator, which wait for none,
// find some: an eighth of a client's share, unless the call itself needs that.
int64_t HeadroomOf(int64_t bytes, const limits::RequestMemory& memory) {
  const int64_t share = memory.max_bytes() / 4 * 3;
  return std::clamp<int64_t>(share - bytes, 0, share / 8);
}

// A body that gives its memory back when it was written.
http::Body HeldBody(std::string text, limits::RequestMemory::Hold hold) {
  struct Held {
    std::string text;
    limits::RequestMemory::Hold hold;
  };
  auto held = std::make_shared<Held>(Held{std::move(text), std::move(hold)});
  return {held, &held->text};
}

}  // namespace

std::string ClientOf(const http::Request& request, bool behind_proxy) {
  if (!request.principal.empty()) {
    return std::string(experiment::kNamedClient) + request.principal;
  }
  return behind_proxy ? net::ForwardedClient(request.Header("X-Forwarded-For")) : request.address;
}

// What the engine delivers for one prompt.
class CompletionCall::PromptSink final : public engine::GenerateSink {
 public:
  PromptSink(std::shared_ptr<CompletionCall> call, size_t prompt)
      : call_(std::move(call)), prompt_(prompt) {}

  engine::Flow OnTokens(engine::GenerateDelta delta) override {
    return call_->OnTokens(prompt_, std::move(delta));
  }
  void OnDone(const engine::Completion& completion) override { call_->OnDone(prompt_, completion); }

 private:
  const std::shared_ptr<CompletionCall> call_;
  const size_t prompt_;
};

void CompletionCall::Start(const CallContext* context, http::Request request, http::Reply reply) {
  const auto call = std::make_shared<CompletionCall>(context, std::move(request), std::move(reply));
  call->reply_.OnGone([weak = call->weak_from_this()] {
    if (const auto gone = weak.lock(); gone != nullptr) gone->OnGone();
  });
  call->JoinLine();
}

CompletionCall::CompletionCall(const CallContext* context, http::Request request, http::Reply reply)
    : context_(context),
      reply_(std::move(reply)),
      client_(ClientOf(request, context->behind_proxy)),
      ticket_(context->line->TakeTicket()),
      deadline_(absl::Now() + context->wait),
      body_(std::move(request.body)),
      hold_(context->limits->memory().Open(client_)) {}

CompletionCall::~CompletionCall() {
  hold_ = {};
  context_->line->ReturnTicket(client_, has_place_);
}

void CompletionCall::JoinLine() {
  const absl::Status status =
      context_->line->Join(shared_from_this(), {.client = client_, .ticket = ticket_}, has_place_);
  if (!status.ok()) Refuse(status);
}

bool CompletionCall::has_ended() const {
  absl::MutexLock lock(&mu_);
  return has_ended_;
}

bool CompletionCall::TryEnter() {
  if (has_ended()) {
    Refuse(absl::CancelledError("the client has gone"));
    return true;
  }
  return request_.has_value() ? TrySubmit() : TryPrepare();
}

absl::Time CompletionCall::WaitsUntil() const {
  return num_submitted_ > 0 ? absl::InfiniteFuture() : deadline_;
}

bool CompletionCall::TryPrepare() {
  if (!context_->line->HasPlace(client_)) return false;
  const int64_t bytes = static_cast<int64_t>(body_.size());
  const int64_t needed = kCallBytes + bytes * (1 + kPreparingBytes);
  const absl::Status status = hold_.Resize(needed, HeadroomOf(needed, context_->limits->memory()));
  if (IsWorthWaiting(status)) return false;
  if (!status.ok()) {
    Refuse(status);
    return true;
  }
  context_->line->TakePlace(client_);
  has_place_ = true;
  context_->preparing->Run(
      {.client = client_,
       .interrupt = {.stop = stop_.get_token()},
       .run = [call = shared_from_this()] { call->Prepare(); },
       .refuse = [call = shared_from_this()](const absl::Status& why) { call->Refuse(why); }});
  return true;
}

void CompletionCall::Prepare() {
  const experiment::Serving& serving = *context_->serving;
  auto request = ParseCompletion(body_, serving, {.stop = stop_.get_token()});
  body_ = std::string();
  if (!request.ok()) return Refuse(request.status());
  writer_.emplace(*request, ReplyWriter::Options{.model = serving.model.model_id,
                                                 .created = absl::ToUnixSeconds(absl::Now()),
                                                 .tokenizer = serving.tokenizer,
                                                 .skip_special_tokens =
                                                     request->prompts.front().skip_special_tokens});
  is_stream_ = request->stream;
  std::vector<std::unique_ptr<experiment::EngineRequest>> requests;
  for (size_t i = 0; i < request->prompts.size(); ++i) {
    requests.push_back(
        std::make_unique<experiment::EngineRequest>(&serving, kMethod, client_, engine::kHttp));
  }
  request_ = *std::move(request);
  {
    absl::MutexLock lock(&mu_);
    requests_ = std::move(requests);
  }
  // The connection's share of the port's memory stands for the prompts while they wait: calls that
  // wait for memory must not hold what they wait for.
  hold_.Set(0);
  JoinLine();
}

int64_t CompletionCall::MemoryOfReply() const {
  constexpr int64_t kPending = 3 * static_cast<int64_t>(http::Stream::kMaxWaitingBytes);
  constexpr int64_t kEchoBytes = 96, kTopBytes = 48;
  int64_t bytes = kCallBytes + api::MemoryOf(request_->routing);
  for (const engine::GenerateWork& work : request_->prompts) {
    const bool in_parts = is_stream_ && !request_->echo && !request_->routed_experts;
    const model::ModelInfo& model = context_->serving->model;
    // As the engine gives it, and as JSON.
    bytes +=
        2 * (in_parts ? api::StreamMemoryOf(work, model, kPending) : api::MemoryOf(work, model));
    if (!request_->echo) continue;
    bytes += static_cast<int64_t>(work.prompt.size()) * work.num_choices *
             (kEchoBytes + kTopBytes * work.prompt_logprobs.value_or(0));
  }
  return bytes;
}

bool CompletionCall::TrySubmit() {
  if (!has_memory_) {
    const int64_t needed = MemoryOfReply();
    const absl::Status status =
        hold_.Resize(needed, HeadroomOf(needed, context_->limits->memory()));
    if (IsWorthWaiting(status)) return false;
    if (!status.ok()) {
      Refuse(status);
      return true;
    }
    has_memory_ = true;
  }
  while (num_submitted_ < request_->prompts.size()) {
    const absl::Status status = has_ended() ? absl::CancelledError("cancelled") : SubmitNext();
    if (IsWorthWaiting(status)) return false;
    if (!status.ok()) {
      Refuse(status);
      return true;
    }
  }
  pin_.Release();
  return true;
}

// A refused request's pin is gone, so the first one is admitted anew each time that it is tried:
// who waits does not keep an old plan.
absl::Status CompletionCall::SubmitNext() {
  const size_t prompt = num_submitted_;
  std::vector<experiment::EngineRequest*> requests;
  {
    absl::MutexLock lock(&mu_);
    requests = PointersTo(requests_);
  }
  const std::string id =
      requests.size() == 1 ? request_->request_id : absl::StrCat(request_->request_id, "-", prompt);
  if (prompt == 0) {
    const absl::Status status = requests[0]->Admit(request_->routing, id);
    if (absl::IsPermissionDenied(status) && request_->arm_of_model) {
      return ModelNotFound(
          absl::StrCat(context_->serving->model.model_id, "@", *request_->arm_of_model));
    }
    if (!status.ok()) return status;
    pin_ = requests[0]->PinAgain();
    writer_->SetStamp(StampJson(requests[0]->generation(), requests[0]->assignment()));
  } else {
    requests[prompt]->AdmitLike(*requests[0], pin_.Again(), id);
  }
  const absl::Status status =
      requests[prompt]->Submit(request_->prompts[prompt], absl::InfiniteFuture(),
                               std::static_pointer_cast<engine::GenerateSink>(
                                   std::make_shared<PromptSink>(shared_from_this(), prompt)));
  if (!status.ok()) {
    if (prompt == 0) pin_.Release();
    return status;
  }
  request_->prompts[prompt].prompt = std::vector<TokenId>();
  ++num_submitted_;
  is_counted_ = true;
  if (prompt == 0) OnFirstSubmitted();
  return absl::OkStatus();
}

void CompletionCall::OnFirstSubmitted() {
  http::Response response;
  absl::MutexLock lock(&mu_);
  const experiment::EngineRequest& first = *requests_.front();
  stamp_fields_ = {{"x-olmoe-generation", absl::StrCat(first.generation())},
                   {"x-olmoe-arm", first.assignment().arm_id},
                   {"x-olmoe-policy-digest", first.assignment().policy->digest()}};
  may_write_ = true;
  if (is_stream_ && !has_ended_) {
    const std::weak_ptr<CompletionCall> weak = weak_from_this();
    stream_ = std::make_shared<http::Stream>(
        [weak] {
          if (const auto call = weak.lock(); call != nullptr) call->OnGone();
        },
        [weak] {
          if (const auto call = weak.lock(); call != nullptr) call->OnTaken();
        });
    self_ = shared_from_this();
    response.fields = stamp_fields_;
    response.fields.emplace_back("Content-Type", "text/event-stream; charset=utf-8");
    response.fields.emplace_back("Cache-Control", "no-cache");
    response.stream = stream_;
    reply_.Send(std::move(response));
  }
  if (!events_.empty()) ScheduleWrite();
}

bool CompletionCall::is_behind() const { return !unsent_.empty() || events_.size() >= kMaxEvents; }

engine::Flow CompletionCall::OnTokens(size_t prompt, engine::GenerateDelta delta) {
  absl::MutexLock lock(&mu_);
  if (has_ended_) return engine::Flow::kContinue;  // its cancellation is on the way
  events_.push_back({.prompt = prompt, .delta = std::move(delta), .done = std::nullopt});
  if (!is_stream_) return engine::Flow::kContinue;
  ScheduleWrite();
  if (!is_behind()) return engine::Flow::kContinue;
  paused_.push_back(prompt);
  return engine::Flow::kPause;
}

void CompletionCall::OnDone(size_t prompt, const engine::Completion& completion) {
  experiment::EngineRequest* request = nullptr;
  {
    absl::MutexLock lock(&mu_);
    request = requests_[prompt].get();
  }
  request->Report(completion.status, &completion);
  if (!completion.status.ok()) return Fail(completion.status);
  absl::MutexLock lock(&mu_);
  if (has_ended_) return;
  events_.push_back({.prompt = prompt, .delta = {}, .done = completion});
  if (++num_done_ == requests_.size() || is_stream_) ScheduleWrite();
}

void CompletionCall::ScheduleWrite() {
  if (is_writing_ || !may_write_) return;
  is_writing_ = true;
  context_->writing->Run([call = shared_from_this()] { call->Write(); });
}

void CompletionCall::Write() {
  while (true) {
    std::deque<Event> events;
    bool is_all = false;
    {
      absl::MutexLock lock(&mu_);
      events.swap(events_);
      if (events.empty() || has_ended_) {
        is_writing_ = false;
        return;
      }
      is_all = num_done_ == requests_.size();
    }
    for (Event& event : events) {
      event.done ? writer_->Done(*event.done) : writer_->Add(event.prompt, std::move(event.delta));
    }
    if (!is_stream_) {
      if (is_all) Answer();
      continue;
    }
    const std::string written = writer_->TakeEvents();
    {
      absl::MutexLock lock(&mu_);
      if (!has_ended_) {
        unsent_ += written;
        is_last_ = is_all;
        PushUnsent();
      }
    }
    ResumePaused();
  }
}

void CompletionCall::Answer() {
  std::string text = writer_->TakeReply();
  hold_.Set(static_cast<int64_t>(text.size()));
  http::Response response{.status = 200, .fields = stamp_fields_};
  response.fields.emplace_back("Content-Type", kJsonType);
  response.body = HeldBody(std::move(text), std::move(hold_));
  {
    absl::MutexLock lock(&mu_);
    if (std::exchange(has_ended_, true)) return;
  }
  reply_.Send(std::move(response));
}

void CompletionCall::PushUnsent() {
  if (stream_ == nullptr) return;
  unsent_.erase(0, stream_->PushSome(unsent_));
  if (!is_last_ || !unsent_.empty()) return;
  has_ended_ = true;
  stream_->Finish();
  stream_.reset();
}

void CompletionCall::ResumePaused() {
  std::vector<experiment::EngineRequest*> resumed;
  std::shared_ptr<CompletionCall> self;  // goes last
  absl::ReleasableMutexLock lock(&mu_);
  if (has_ended_ && stream_ == nullptr) self = std::move(self_);
  if (unsent_.empty()) {
    for (const size_t prompt : std::exchange(paused_, {})) {
      resumed.push_back(requests_[prompt].get());
    }
  }
  lock.Release();
  for (experiment::EngineRequest* request : resumed) request->Resume();
}

void CompletionCall::OnTaken() {
  {
    absl::MutexLock lock(&mu_);
    PushUnsent();
  }
  ResumePaused();
}

void CompletionCall::OnGone() {
  const auto alive = shared_from_this();
  Fail(absl::CancelledError("the client has gone"));
  absl::MutexLock lock(&mu_);
  stream_.reset();
  self_.reset();
}

void CompletionCall::Fail(const absl::Status& status) {
  std::vector<experiment::EngineRequest*> requests;
  std::shared_ptr<http::Stream> stream;
  const auto alive = shared_from_this();
  {
    absl::MutexLock lock(&mu_);
    if (std::exchange(has_ended_, true)) return;
    requests = PointersTo(requests_);
    events_.clear();
    stream = stream_;
    if (stream_ != nullptr) {
      unsent_ += ReplyWriter::ErrorEvent(status);
      is_last_ = true;
      PushUnsent();
    }
  }
  stop_.request_stop();
  for (experiment::EngineRequest* request : requests) request->Cancel();
  if (stream == nullptr) reply_.Send(ErrorResponse(status));
  ResumePaused();
  // Who waits in line has nobody else to notice.
  if (context_->line->Leave(ticket_)) Refuse(status);
}

void CompletionCall::Refuse(const absl::Status& status) {
  const auto alive = shared_from_this();
  pin_.Release();
  // Counted before the client learns of it, as a request that has run is.
  if (!std::exchange(is_counted_, true)) {
    experiment::EngineRequest(context_->serving, kMethod, client_, engine::kHttp)
        .Report(status, nullptr);
  }
  Fail(status);
}

}  // namespace olmoe::completions
