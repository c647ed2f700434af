#ifndef OLMOE_SERVER_COMPLETIONS_REPLY_WRITER_H_
#define OLMOE_SERVER_COMPLETIONS_REPLY_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "server/completions/completion_request.h"
#include "server/completions/json_writer.h"
#include "server/completions/token_text.h"
#include "server/engine/token_sink.h"
#include "server/routing/plan.h"

namespace olmoe::completions {

// The stamp of a reply: which plan, arm and policy made it.
std::string StampJson(uint64_t generation, const routing::Assignment& assignment);

// The experts of a choice, positions 0 to its last token but one. Where each position ran equally
// many in every layer it is a string as vLLM has it, base64 of a NumPy file: int16, [positions,
// layers, k]; else {"dtype": "uint8", "positions", "layers", "counts": base64 of [positions]
// [layers], "experts": base64, ragged}.
std::string RoutedExpertsJson(const engine::RoutingTrace& trace);

// Makes the reply to one call, whole or as the events of a stream, from what the engine delivers
// for its prompts. Choice `c` of prompt `p` has the index p * n + c. Thread-compatible.
class ReplyWriter {
 public:
  struct Options {
    std::string model;
    int64_t created = 0;  // seconds since the epoch
    const text::Tokenizer* tokenizer = nullptr;  // null: no text; outlives this
    bool skip_special_tokens = true;
  };

  // Keeps what it needs of the prompts, which go to the engine.
  ReplyWriter(const CompletionRequest& call, Options options);

  // REQUIRES: before the other calls.
  void SetStamp(std::string stamp_json) { stamp_ = std::move(stamp_json); }

  // In the order in which the engine delivers for that prompt.
  void Add(size_t prompt, engine::GenerateDelta delta);
  void Done(const engine::Completion& completion);

  // Of a stream: the events since the last call; the last ones are there when all prompts are done.
  std::string TakeEvents();
  // The whole reply. REQUIRES: all prompts are done.
  std::string TakeReply();

  static std::string ErrorEvent(const absl::Status& status);

 private:
  struct Choice {
    Choice(const text::Tokenizer* tokenizer, bool skip_special_tokens, size_t first_offset)
        : offsets(tokenizer, skip_special_tokens, first_offset), arrays(tokenizer) {}

    TextOffsets offsets;
    LogprobArrays arrays;
    std::string text;
    std::vector<TokenId> token_ids;  // where they are wanted
    engine::RoutingTrace trace;
    std::optional<engine::ChoiceEnd> end;
    bool begun = false;   // has its echo
    bool written = false;  // some of it, the ids of the prompt with it
  };
  struct Prompt {
    explicit Prompt(const text::Tokenizer* tokenizer) : arrays(tokenizer) {}

    size_t num_tokens = 0;
    std::vector<TokenId> token_ids;  // where they are wanted
    // With echo.
    std::string text;
    size_t text_code_points = 0;
    // With echo and logprobs: of the tokens whose scores have come.
    LogprobArrays arrays;
    std::optional<TextOffsets> offsets;
    std::vector<Choice> choices;
  };

  void BeginEcho(const std::vector<TokenId>& tokens, Prompt* prompt) const;
  void AddScores(const std::vector<engine::ScoredToken>& scores, Prompt* prompt) const;
  void AddTokens(const std::vector<engine::GeneratedToken>& tokens, Choice* choice) const;
  // What is in the choice, and then is not.
  void WriteChoice(size_t index, const Prompt& prompt, Choice* choice, JsonWriter* json) const;
  void WriteTokenIds(const Prompt& prompt, Choice* choice, JsonWriter* json) const;
  void WriteEvent(size_t index, const Prompt& prompt, Choice* choice);
  void WriteHead(JsonWriter* json) const;
  std::string UsageJson() const;
  bool all_ended() const { return num_ended_ == prompts_.size() * num_choices_; }

  const Options options_;
  const std::string id_;
  const bool stream_, include_usage_, echo_, logprobs_, routed_experts_, token_ids_;
  const size_t num_choices_;  // of each prompt
  std::string stamp_;

  std::vector<Prompt> prompts_;
  size_t num_ended_ = 0;  // choices
  size_t num_done_ = 0;   // prompts
  uint64_t prompt_tokens_ = 0, completion_tokens_ = 0, cached_tokens_ = 0;
  std::string events_;
  bool stamped_ = false;  // the first event
};

}  // namespace olmoe::completions

#endif  // OLMOE_SERVER_COMPLETIONS_REPLY_WRITER_H_
