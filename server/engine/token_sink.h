// The seam between the engine and whoever asked: the engine knows no gRPC.
#ifndef OLMOE_SERVER_ENGINE_TOKEN_SINK_H_
#define OLMOE_SERVER_ENGINE_TOKEN_SINK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/model/model.h"
#include "server/util/token_id.h"

namespace olmoe::engine {

enum class FinishReason { kLength, kEos, kStopString, kStopToken };
// In the order of FinishReason.
inline constexpr const char* kFinishReasonNames[] = {"length", "eos", "stop_string", "stop_token"};

// Routing of consecutive positions of one sequence, position-major (the layout of
// olmoe.v1.RoutingTrace). Fields that were not asked for are empty.
struct RoutingTrace {
  int first_position = 0;
  int num_positions = 0;
  int num_layers = 0;
  std::vector<uint8_t> counts;   // [positions][layers]
  std::vector<uint8_t> experts;  // ragged
  std::vector<float> weights;    // ragged, as experts
  std::vector<float> logits;     // [positions][layers][experts]
  // Appends `next`, which must continue this trace.
  void Append(RoutingTrace next);
  // Counts and experts of `num` positions from number `first` of this trace on.
  RoutingTrace Slice(int first, int num) const;
};

struct GeneratedToken {
  TokenId token = 0;
  std::optional<float> logprob;
  std::vector<model::TokenLogprob> top;
};

struct ScoredToken {
  TokenId token = 0;
  float logprob = 0;
  uint32_t rank = 0;
  std::vector<model::TokenLogprob> top;
};

// How one completion of a request ended.
struct ChoiceEnd {
  FinishReason finish_reason = FinishReason::kLength;
  std::string matched_stop = {};
  uint32_t completion_tokens = 0;
};

// What one step added to a completion. Text and tokens need not be in step: text
// is held back while it may be part of a character or of a stop string.
struct GenerateDelta {
  int choice = 0;    // 0..num_choices - 1
  std::string text;  // whole UTF-8 characters
  std::vector<GeneratedToken> tokens;
  RoutingTrace trace;  // of choice 0: of the prompt, too
  // Of choice 0: the next scores of the prompt's tokens, which begin with position 1.
  std::vector<ScoredToken> prompt_tokens;
  std::optional<ChoiceEnd> end;  // set: nothing more comes of this choice
};

// A finished window of a ScoreWork.
struct WindowScores {
  int window = 0;                   // index into ScoreWork::windows
  std::vector<ScoredToken> tokens;  // from first_scored on
  RoutingTrace trace;               // of all positions of the window that are inputs
  std::vector<float> last_logits;   // [vocab_size]; empty unless asked for
};

// The durations of one request; zero where it did not get that far.
struct RequestTiming {
  absl::Duration queue;                // submitted -> first row computed
  absl::Duration prefill;              // first row computed -> first token or score
  absl::Duration time_to_first_token;  // queue + prefill
  absl::Duration decode;               // first token -> last token
  absl::Duration total;
};

// How a request ended.
struct Completion {
  // OK; CANCELLED; DEADLINE_EXCEEDED; UNAVAILABLE (drain); RESOURCE_EXHAUSTED
  // (slow reader); INTERNAL (non-finite logits).
  absl::Status status;
  std::vector<ChoiceEnd> choices;  // of a GenerateWork that is OK: of each completion
  uint32_t prompt_tokens = 0;
  uint32_t completion_tokens = 0;   // of all choices
  uint64_t expert_activations = 0;  // (token, layer, expert) triples run
  uint64_t routed_tokens = 0;       // rows run through the layers
  uint32_t cached_prompt_tokens = 0;  // of the prompts, found in the cache and not run
  uint64_t cached_expert_activations = 0;  // that those had run
  // The same of completions behind the first: what the request has computed for that one, or found.
  uint32_t shared_prompt_tokens = 0;
  uint64_t shared_expert_activations = 0;
  RequestTiming timing;
};

enum class Flow {
  kContinue,
  kPause,  // the reader is behind: compute nothing for it until Engine::Resume
};

// Receives what a request produces. Called from the engine thread, one call at a
// time, never under a lock of the engine; must not block. OnDone is the last call
// and comes exactly once for every request that Submit accepted.
class RequestSink {
 public:
  virtual ~RequestSink() = default;
  virtual void OnDone(const Completion& completion) = 0;
};

class GenerateSink : public RequestSink {
 public:
  virtual Flow OnTokens(GenerateDelta delta) = 0;
};

class ScoreSink : public RequestSink {
 public:
  virtual Flow OnScores(WindowScores scores) = 0;
};

// Of the same kind as the work of its request.
using Sink = std::variant<std::shared_ptr<GenerateSink>, std::shared_ptr<ScoreSink>>;

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_TOKEN_SINK_H_
