#ifndef OLMOE_CLIENT_BENCH_PROMPT_MIX_H_
#define OLMOE_CLIENT_BENCH_PROMPT_MIX_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "client/eval/random.h"

namespace olmoe::client::bench {

// What a request asks for: text or ids.
struct Prompt {
  std::string text = {};
  std::vector<uint32_t> ids = {};  // in place of `text`
  uint32_t max_new_tokens = 0;  // 0: what the command line says
  double weight = 1;            // > 0, relative to the others
  bool is_score = false;
  // Scored after the prompt. Both empty: the prompt itself is scored, from the prefix token on.
  std::string continuation = {};
  std::vector<uint32_t> continuation_ids = {};
};

// Prompts with weights. Immutable.
class PromptMix {
 public:
  // `prompts` is not empty.
  explicit PromptMix(std::vector<Prompt> prompts);

  // A few beginnings of stories.
  static PromptMix BuiltIn();
  // A prompt a line: text, or with `is_jsonl` an object
  //   {"prompt": "..." or "token_ids": [1, 2], "max_new_tokens": 32, "weight": 1,
  //    "method": "generate" or "score", "continuation": "..." or "continuation_token_ids": [3]}
  // INVALID_ARGUMENT names the line.
  static absl::StatusOr<PromptMix> Parse(std::string_view text, bool is_jsonl);

  const Prompt& Draw(eval::Random* random) const;
  bool HasText() const;

 private:
  std::vector<Prompt> prompts_;
  std::vector<double> ends_;  // sums of weights up to and with each prompt
};

}  // namespace olmoe::client::bench

#endif  // OLMOE_CLIENT_BENCH_PROMPT_MIX_H_
