// Generate and GenerateStream.
#include <grpcpp/server_context.h>

#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/api/conversions.h"
#include "server/api/generate_request.h"
#include "server/api/request_cost.h"
#include "server/experiment/engine_request.h"
#include "server/rpc/inference_calls.h"
#include "server/rpc/stream_call.h"
#include "server/rpc/wire.h"

namespace olmoe::rpc {
namespace {

template <class T>
void MoveBehind(std::vector<T> from, std::vector<T>* into) {
  into->insert(into->end(), std::make_move_iterator(from.begin()),
               std::make_move_iterator(from.end()));
}

// Of one choice.
void Merge(engine::GenerateDelta from, engine::GenerateDelta* into) {
  into->text += from.text;
  MoveBehind(std::move(from.tokens), &into->tokens);
  MoveBehind(std::move(from.prompt_tokens), &into->prompt_tokens);
  into->trace.Append(std::move(from.trace));
}

// What both calls do with their request. A call shares itself with the engine while that delivers;
// it ends in OnMessage for a refused request, otherwise after the engine's OnDone, which is the
// last that the engine calls.
template <class Call>
class GenerateBase : public Call, public engine::GenerateSink {
 protected:
  GenerateBase(const InferenceContext* context, grpc::CallbackServerContext* server_context,
               const char* method)
      : Call(context, server_context), request_(context->serving, method, this->client()) {}

  void OnCancelled() override { request_.Cancel(); }
  void OnRefused(const absl::Status& status) override { request_.Report(status, nullptr); }

  // Parses the message and hands its work to the engine; ends the call where it is refused.
  bool Submit() {
    const absl::Status status = TrySubmit();
    if (status.ok()) return true;
    OnRefused(status);
    this->End(status);
    return false;
  }

  // Bytes to hold for `work` and its answer.
  virtual int64_t MemoryOf(const engine::GenerateWork& work) const = 0;
  // Pinned and stamped, not yet the engine's.
  virtual void OnAdmitted(const engine::GenerateWork& work) {}

  // Text, tokens and trace, for a GenerateResponse, GenerateChoice or GenerateDelta.
  template <class Message>
  void AddOutput(engine::GenerateDelta output, Message* message) const {
    message->set_text(std::move(output.text));
    for (const engine::GeneratedToken& token : output.tokens) {
      message->add_token_ids(static_cast<uint32_t>(token.token));
      if (wants_tokens_) {
        *message->add_tokens() = api::ToProto(token, this->serving().tokenizer);
      }
    }
    if (output.trace.num_positions > 0) *message->mutable_trace() = api::ToProto(output.trace);
  }
  template <class Message>  // GenerateResponse or GenerateDelta
  static void AddPrompt(const std::vector<engine::ScoredToken>& tokens, Message* message) {
    for (const engine::ScoredToken& token : tokens) {
      *message->add_prompt_tokens() = api::ToProto(token);
    }
  }
  // All of a GenerateResponse but what was delivered bit by bit.
  v1::GenerateResponse SummaryOf(const engine::Completion& completion) const {
    v1::GenerateResponse out;
    out.set_request_id(request_.request_id());
    SetEnd(completion.choices.front(), &out);
    for (size_t i = 1; i < completion.choices.size(); ++i) {
      SetEnd(completion.choices[i], out.add_other_choices());
    }
    *out.mutable_usage() = api::UsageOf(completion);
    *out.mutable_timing() = api::ToProto(completion.timing);
    *out.mutable_routing() = api::StampOf(request_);
    out.set_seed(seed_);
    return out;
  }

  experiment::EngineRequest request_;

 private:
  template <class Message>  // GenerateResponse or GenerateChoice
  static void SetEnd(const engine::ChoiceEnd& end, Message* message) {
    message->set_finish_reason(api::ToProto(end.finish_reason));
    message->set_matched_stop(end.matched_stop);
  }
  absl::Status TrySubmit() {
    v1::GenerateRequest message;
    if (absl::Status status = ParseMessage(this->message(), &message); !status.ok()) return status;
    absl::StatusOr<api::GenerateInput> input =
        api::ParseGenerate(message, this->serving(), this->interrupt());
    if (!input.ok()) return input.status();
    const int64_t bytes = MemoryOf(input->work) + api::MemoryOf(input->routing);
    if (absl::Status status = this->Reserve(bytes); !status.ok()) return status;
    this->ClearMessage();
    message.Clear();
    wants_tokens_ = input->work.logprobs;
    seed_ = input->work.sampling.seed;
    absl::Status status = request_.Admit(input->routing, std::move(input->request_id));
    if (!status.ok()) return status;
    OnAdmitted(input->work);
    AddStampMetadata(request_, this->server_context());
    this->StartSendInitialMetadata();
    return request_.Submit(std::move(input->work), this->deadline(), this->Shared(this));
  }

  // Constant after Submit.
  bool wants_tokens_ = false;
  uint64_t seed_ = 0;
};

// One Generate call: collects what the engine delivers into one answer.
class GenerateCall final : public GenerateBase<InferenceCall> {
 public:
  GenerateCall(const InferenceContext* context, grpc::CallbackServerContext* server_context)
      : GenerateBase(context, server_context, "Generate") {}

  // engine::GenerateSink, engine thread.
  engine::Flow OnTokens(engine::GenerateDelta delta) override {
    Merge(std::move(delta), &collected_[delta.choice]);
    return engine::Flow::kContinue;
  }
  void OnDone(const engine::Completion& completion) override {
    request_.Report(completion.status, &completion);
    if (!completion.status.ok()) return End(completion.status);
    v1::GenerateResponse response = SummaryOf(completion);
    for (auto& [choice, output] : collected_) {
      if (choice > 0) {
        AddOutput(std::move(output), response.mutable_other_choices(choice - 1));
        continue;
      }
      AddPrompt(output.prompt_tokens, &response);
      AddOutput(std::move(output), &response);
    }
    Answer(SerializeMessage(response));
  }

 private:
  void OnMessage(bool) override { Submit(); }
  int64_t MemoryOf(const engine::GenerateWork& work) const override {
    return api::MemoryOf(work, serving().model);
  }

  std::map<int, engine::GenerateDelta> collected_;  // by choice; engine thread only
};

// What a delta takes while it waits, about.
size_t PendingBytes(const engine::GenerateDelta& delta) {
  size_t bytes = delta.text.size() + delta.trace.counts.size() + delta.trace.experts.size() +
                 sizeof(float) * (delta.trace.weights.size() + delta.trace.logits.size());
  const auto add_tokens = [&bytes](const auto& tokens) {
    for (const auto& token : tokens) {
      bytes += sizeof(token) + sizeof(model::TokenLogprob) * token.top.size();
    }
  };
  add_tokens(delta.tokens);
  add_tokens(delta.prompt_tokens);
  return bytes;
}

// One GenerateStream call. Deltas that come while a write is under way are merged into one message;
// beyond max_pending_bytes the request is paused until that message is on its way.
class GenerateStreamCall final : public GenerateBase<StreamCall<InferenceContext>> {
 public:
  GenerateStreamCall(const InferenceContext* context, grpc::CallbackServerContext* server_context)
      : GenerateBase(context, server_context, "GenerateStream") {}

  // engine::GenerateSink, engine thread.
  engine::Flow OnTokens(engine::GenerateDelta delta) override;
  void OnDone(const engine::Completion& completion) override;

 private:
  void OnMessage(bool) override;
  int64_t MemoryOf(const engine::GenerateWork& work) const override {
    const int64_t pending = 3 * static_cast<int64_t>(context().max_pending_bytes);
    return api::StreamMemoryOf(work, serving().model, pending);
  }
  void OnAdmitted(const engine::GenerateWork& work) override;
  Step Next() override;
  void OnBroken() override;
  v1::GenerateStreamResponse TakeDelta() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  absl::Mutex mu_;
  // Nothing is written before: a paused request that the engine has not yet named to us could not
  // be resumed.
  bool submitted_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<v1::GenerateStarted> started_ ABSL_GUARDED_BY(mu_);  // not yet written
  std::map<int, engine::GenerateDelta> pending_ ABSL_GUARDED_BY(mu_);  // by choice
  size_t pending_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<engine::Completion> completion_ ABSL_GUARDED_BY(mu_);
  bool paused_ ABSL_GUARDED_BY(mu_) = false;  // the engine waits for Resume
  bool broken_ ABSL_GUARDED_BY(mu_) = false;  // a write failed: nobody reads
  bool summary_written_ ABSL_GUARDED_BY(mu_) = false;
};

void GenerateStreamCall::OnMessage(bool) {
  if (!Submit()) return;
  {
    absl::MutexLock lock(&mu_);
    submitted_ = true;
  }
  Wake();
}

void GenerateStreamCall::OnAdmitted(const engine::GenerateWork& work) {
  absl::MutexLock lock(&mu_);
  started_.emplace();
  started_->set_request_id(request_.request_id());
  *started_->mutable_routing() = api::StampOf(request_);
  started_->set_prompt_tokens(static_cast<uint32_t>(work.prompt.size()));
}

engine::Flow GenerateStreamCall::OnTokens(engine::GenerateDelta delta) {
  {
    absl::MutexLock lock(&mu_);
    if (broken_) return engine::Flow::kContinue;  // its cancellation is on the way
    pending_bytes_ += PendingBytes(delta);
    Merge(std::move(delta), &pending_[delta.choice]);
  }
  Wake();
  absl::MutexLock lock(&mu_);
  // Still there: a write is under way, after which Next takes it and lets the engine go on.
  if (pending_bytes_ <= context().max_pending_bytes) return engine::Flow::kContinue;
  paused_ = true;
  return engine::Flow::kPause;
}

void GenerateStreamCall::OnDone(const engine::Completion& completion) {
  request_.Report(completion.status, &completion);
  {
    absl::MutexLock lock(&mu_);
    completion_ = completion;
    // A reader that was too slow would also never take the end of its stream. Under the
    // lock, because the context lives only until the end, which is after it.
    if (paused_ && absl::IsResourceExhausted(completion.status)) server_context()->TryCancel();
  }
  Wake();
}

void GenerateStreamCall::OnBroken() {
  {
    absl::MutexLock lock(&mu_);
    broken_ = true;
  }
  request_.Cancel();
}

v1::GenerateStreamResponse GenerateStreamCall::TakeDelta() {
  v1::GenerateStreamResponse message;
  v1::GenerateDelta* delta = message.mutable_delta();
  const auto first = pending_.begin();
  pending_bytes_ -= PendingBytes(first->second);
  delta->set_choice(static_cast<uint32_t>(first->first));
  AddPrompt(first->second.prompt_tokens, delta);
  AddOutput(std::move(first->second), delta);
  pending_.erase(first);
  return message;
}

GenerateStreamCall::Step GenerateStreamCall::Next() {
  v1::GenerateStreamResponse message;
  bool resume = false;
  {
    absl::MutexLock lock(&mu_);
    if (!submitted_) return Nothing();
    if (started_ && !broken_) {
      *message.mutable_started() = *std::exchange(started_, std::nullopt);
    } else if (!pending_.empty() && !broken_) {
      message = TakeDelta();
      resume = pending_.empty() && std::exchange(paused_, false);
    } else if (!completion_) {
      return Nothing();
    } else if (broken_ || summary_written_ || !completion_->status.ok()) {
      return TheEnd(completion_->status);
    } else {
      summary_written_ = true;
      *message.mutable_done() = SummaryOf(*completion_);
    }
  }
  if (resume) request_.Resume();
  return Message(message);
}

}  // namespace

ByteReactor* StartGenerate(const InferenceContext* context,
                           grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<GenerateCall>(context, server_context);
}

ByteReactor* StartGenerateStream(const InferenceContext* context,
                                 grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<GenerateStreamCall>(context, server_context);
}

}  // namespace olmoe::rpc
