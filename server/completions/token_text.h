#ifndef OLMOE_SERVER_COMPLETIONS_TOKEN_TEXT_H_
#define OLMOE_SERVER_COMPLETIONS_TOKEN_TEXT_H_

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "server/model/model.h"
#include "server/text/tokenizer.h"
#include "server/util/token_id.h"

namespace olmoe::completions {

// A token as `tokens` and `top_logprobs` name it: its text; `bytes:\xe2\x80` where that is not
// whole UTF-8; "token_id:5" where it has none, or there is no tokenizer (null).
std::string TokenText(TokenId token, const text::Tokenizer* tokenizer);

// Follows where in a text its tokens begin, counted in code points. Thread-compatible; the
// tokenizer (null: there is no text) outlives it.
class TextOffsets {
 public:
  // `first`: of the first token.
  TextOffsets(const text::Tokenizer* tokenizer, bool skip_special_tokens, size_t first);

  // Returns where `token` begins: in the middle of a character, where that does. Its text is
  // appended to `text` as far as it is whole, if that is not null.
  size_t Add(TokenId token, std::string* text = nullptr);
  // The end of the text, with what of a character is left over. REQUIRES: called once.
  size_t End(std::string* text);

 private:
  size_t position_;
  std::optional<text::StreamingDetokenizer> detokenizer_;
};

// The four arrays of a `logprobs` object, as JSON that grows token by token.
// Thread-compatible.
class LogprobArrays {
 public:
  explicit LogprobArrays(const text::Tokenizer* tokenizer) : tokenizer_(tokenizer) {}

  // `logprob`: unset for what nothing comes before. Where it is set, the token stands among its
  // alternatives, `top`; of several tokens of one text the likeliest counts.
  void Add(TokenId token, std::optional<float> logprob, std::span<const model::TokenLogprob> top,
           size_t offset);
  void Append(const LogprobArrays& next);

  std::string Json() const;
  bool empty() const { return tokens_.empty(); }
  void Clear();

 private:
  const text::Tokenizer* tokenizer_;  // null: none
  // What stands between the brackets.
  std::string tokens_, token_logprobs_, top_logprobs_, text_offset_;
};

}  // namespace olmoe::completions

#endif  // OLMOE_SERVER_COMPLETIONS_TOKEN_TEXT_H_
