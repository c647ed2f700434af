#ifndef OLMOE_SERVER_ENGINE_REQUEST_H_
#define OLMOE_SERVER_ENGINE_REQUEST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "server/model/model.h"
#include "server/routing/plan_slot.h"
#include "server/util/token_id.h"

namespace olmoe::engine {

// Names a request that an engine has accepted. It is never 0 and never used twice.
using RequestHandle = uint64_t;

// What of the routing a request wants back.
struct TraceOptions {
  bool experts = false;
  bool weights = false;
  bool logits = false;
  bool any() const { return experts || weights || logits; }
};

// Asks for completions of a prompt.
struct GenerateWork {
  std::vector<TokenId> prompt;  // not empty
  // >= 1, or 0 with prompt_logprobs; prompt + max_new_tokens <= max_context
  int max_new_tokens = 0;
  int num_choices = 1;  // >= 1; completion i is drawn with sampling.seed + i
  model::SamplingParams sampling;
  std::vector<std::string> stop;        // needs a tokenizer
  std::vector<TokenId> stop_token_ids;
  bool ignore_eos = false;
  bool logprobs = false;
  int top_logprobs = 0;
  std::optional<int> prompt_logprobs = {};  // alternatives for each scored token of the prompt
  bool include_stop = false;         // in the text
  bool skip_special_tokens = true;   // they have no text
  TraceOptions trace;
};

// Tokens whose positions from `first_scored` on are scored given all before them.
// At most max_context + 1 tokens: the last one is only a target.
struct ScoreWindow {
  std::vector<TokenId> tokens;
  int first_scored = 0;  // 1..tokens.size() - 1
  // Tokens of the prompt, 0..first_scored: rows behind it are late. Unset: first_scored.
  std::optional<int> prompt_tokens = {};
};

// Asks for the scores of any number of windows, in any order, each for itself.
struct ScoreWork {
  std::vector<ScoreWindow> windows;  // not empty
  int top = 0;
  // Asks for the logits of each window's last computed row. Such a window shares its steps with
  // nothing else, because how an operation rounds may depend on the number of rows: two requests of
  // the same tokens then differ by their policies alone, and equal policies give equal bits.
  bool last_logits = false;
  TraceOptions trace;
};

// A validated request, pinned to the plan that it was admitted with.
struct Request {
  std::string request_id;
  std::string client;  // whose it is, for its share of the queue; empty: not known, no share
  std::variant<GenerateWork, ScoreWork> work;
  routing::PlanPin pin;            // keeps the generation counted as in flight
  routing::Assignment assignment;  // the arm and its policy
  uint64_t routing_seed = 0;       // of its noise
  // Whose prompts it shares pages of the KV cache with (prefix_tree.h): those of the same name
  // and the same routing. Unset: nobody's.
  std::optional<std::string> cache_scope = {};
  absl::Time deadline = absl::InfiniteFuture();
};

// Returns the positions of the KV cache that a sequence can need: one less than its tokens, because
// the last token, be it generated or scored, is never an input.
int KvPositions(const GenerateWork& work);
int KvPositions(const ScoreWindow& window);
// Returns those of the largest sequence of the request.
int MaxKvPositions(const Request& request);

// Counts the tokens of the prompt, or of all windows.
uint32_t PromptTokens(const Request& request);

// CHECKs everything that this header says about `request`: api has validated it.
void CheckValid(const Request& request, const model::ModelInfo& model);

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_REQUEST_H_
