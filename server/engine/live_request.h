#ifndef OLMOE_SERVER_ENGINE_LIVE_REQUEST_H_
#define OLMOE_SERVER_ENGINE_LIVE_REQUEST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/engine/request.h"
#include "server/engine/request_state.h"
#include "server/engine/sequence.h"
#include "server/engine/stop_condition.h"
#include "server/engine/token_sink.h"
#include "server/model/model.h"
#include "server/text/tokenizer.h"

namespace olmoe::engine {

// An accepted request: its state, its sequences still to be started, and what it will report at its
// end. Made on the thread that submits it and handed over once; from then on engine thread only.
class LiveRequest {
 public:
  // `tokenizer` may be null and outlives this.
  LiveRequest(Request request, Sink sink, absl::Time submitted, const model::ModelInfo& model,
              const text::Tokenizer* tokenizer);
  LiveRequest(const LiveRequest&) = delete;
  LiveRequest& operator=(const LiveRequest&) = delete;

  RequestHandle handle() const { return handle_; }
  // Before the hand-over.
  void set_handle(RequestHandle handle);
  const Request& request() const { return request_; }
  const TraceOptions& trace() const;
  const Sink& sink() const { return sink_; }
  absl::Time submitted() const { return submitted_; }
  uint32_t prompt_tokens() const { return prompt_tokens_; }
  uint32_t completion_tokens() const { return completion_tokens_; }

  RequestState state() const { return state_; }
  // CHECKs that the transition is legal.
  void TransitionTo(RequestState next);
  // kRunning -> kPaused.
  void Pause(absl::Time now);
  // When it became kPaused.
  absl::Time paused_since() const { return paused_since_; }

  bool scores() const { return std::holds_alternative<ScoreWork>(request_.work); }
  // Its sequences share no step with others.
  bool runs_alone() const;

  // A sequence is a completion, or a window of a score request. They start in order.
  bool has_unstarted() const { return num_started_ < num_sequences_; }
  // KV positions that the next sequence can need.
  int NextPositions() const;
  // The prompt of the next sequence.
  struct Prompt {
    std::span<const TokenId> tokens;
    int reusable = 0;  // positions that need not be computed where they are in the cache
    bool scored = false;  // the scores of its tokens are wanted, so they have to be there as well
  };
  Prompt NextPrompt() const;
  // Whose pages its prompts may be found in, and be left in: a root of the PrefixTree; empty: none.
  const std::string& cache_root() const { return cache_root_; }
  // No other request shares it.
  bool has_own_root() const { return has_own_root_; }
  // Makes the next sequence; its tokens leave the request.
  std::unique_ptr<Sequence> StartNext(Placement placement);
  // True: that was the last one.
  bool OnSequenceDone();

  // The step that computes rows of it begins. True: the first one.
  bool OnStepBegin(absl::Time now);
  // It has run this many rows more, and (token, layer, expert) triples for them.
  void AddRows(uint64_t rows, uint64_t activations) {
    routed_tokens_ += rows;
    expert_activations_ += activations;
  }
  // It has produced a token or a window of scores.
  void OnOutput(absl::Time now);
  // Since the last OnOutput, if there was one.
  std::optional<absl::Duration> SinceOutput(absl::Time now) const;
  // The next token of completion number `choice`. Its end is kept.
  StopCondition::Outcome AddToken(int choice, TokenId token);
  const ChoiceEnd& end_of(int choice) const { return ends_.at(static_cast<size_t>(choice)); }

  // How it ends, once that is known; its sequences stay until the engine has taken them away.
  void SetOutcome(absl::Status status) { outcome_ = std::move(status); }
  bool has_outcome() const { return outcome_.has_value(); }
  const absl::Status& outcome() const { return outcome_.value(); }
  Completion MakeCompletion(absl::Status status, absl::Time now) const;

 private:
  // Constant after hand-over.
  Request request_;  // but for the tokens, which StartNext takes
  RequestHandle handle_ = 0;
  const Sink sink_;
  const absl::Time submitted_;
  const uint32_t prompt_tokens_;
  const int num_sequences_;
  std::string cache_root_;
  bool has_own_root_ = false;

  // Engine thread only.
  RequestState state_ = RequestState::kQueued;
  absl::Time paused_since_ = absl::InfiniteFuture();
  int num_started_ = 0;
  int num_done_ = 0;
  std::vector<StopCondition> stops_;  // of each completion
  std::vector<ChoiceEnd> ends_;  // likewise
  uint32_t completion_tokens_ = 0;
  uint64_t expert_activations_ = 0;
  uint64_t routed_tokens_ = 0;
  uint32_t cached_prompt_tokens_ = 0;
  uint64_t cached_expert_activations_ = 0;
  uint32_t shared_prompt_tokens_ = 0;
  uint64_t shared_expert_activations_ = 0;
  std::optional<absl::Time> first_step_;
  std::optional<absl::Time> first_output_;
  absl::Time last_output_;  // with first_output_
  std::optional<absl::Status> outcome_;
};

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_LIVE_REQUEST_H_
