// When a completion ends, and which text it has given out by then.
#ifndef OLMOE_SERVER_ENGINE_STOP_CONDITION_H_
#define OLMOE_SERVER_ENGINE_STOP_CONDITION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/engine/request.h"
#include "server/engine/token_sink.h"
#include "server/text/tokenizer.h"

namespace olmoe::engine {

// Cuts a text that arrives in pieces before the first stop string in it. After each piece: of the
// stop strings that are complete, the one that begins first counts; of those that begin at the same
// byte, the longest. Text that may still become a stop string (the longest suffix that is a proper
// prefix of one) is held back until it is decided.
//
//   stops {"\n\n"}:  "a\n" -> "a", holds "\n";  "b" -> "\nb";  "\n\nc" -> "", matched
//
// A hidden piece, such as the text of a special token, is never given out. A stop string is found
// in the text with the hidden pieces and in the text without them:
//
//   stops {"a<s>", "ab"}:  "a" -> "", holds "a";  hidden "<s>" -> "", matched
//   stops {"ab"}:          "a" -> "", holds "a";  hidden "<s>" -> "";  "b" -> "", matched
//
// Cost of a piece: (bytes held back + its bytes) * stop strings, with early exits.
// Thread-compatible.
class StopStringMatcher {
 public:
  // No stop string is empty.
  explicit StopStringMatcher(std::vector<std::string> stops);

  // Adds a piece of whole characters; returns the text that is decided, in whole characters. Not
  // called again after a match.
  std::string Push(std::string_view piece, bool hidden = false);
  // What is held back, for a text that ends here; nothing after a match.
  std::string Flush() { return Take(pending_.size()); }
  // The stop string found; null: none so far.
  const std::string* matched() const { return matched_; }

 private:
  // What of pending_ is not hidden.
  struct Shown {
    std::string text;
    std::vector<size_t> at;  // of each byte of it in pending_; and of the end
  };
  Shown ShownPart() const;
  // Start of the first match in pending_; sets matched_. npos: none.
  size_t FindMatch(const Shown& shown);
  // Bytes at the end of pending_ that may begin a stop string.
  size_t HeldBackBytes(const Shown& shown) const;
  // Takes the first bytes of pending_ off; returns those that are not hidden.
  std::string Take(size_t bytes);
  // Takes off hidden bytes that are too far from the end for a stop string.
  void ForgetHidden();

  const std::vector<std::string> stops_;
  size_t longest_ = 0;                    // bytes of the longest of them
  const std::string* matched_ = nullptr;  // into stops_
  std::string pending_;  // not given out: some times the longest stop string
  std::vector<bool> hidden_;  // of each byte of pending_
};

// Watches the tokens of one completion: end of sequence, stop tokens, stop strings in the text, and
// the number of tokens. Special tokens, unless they are to be shown, and a token that ends the text
// by its id add no text; their text can be a stop string or a part of one, though. When the
// completion ends, all text held back is given out, but for a matched stop string and what follows
// it; should the last token complete a stop string, the stop string counts. With include_stop, what
// has ended the text (a string, a token) is its last part. Without a tokenizer there is no text.
// Thread-compatible.
class StopCondition {
 public:
  // `tokenizer` may be null and outlives this.
  StopCondition(const GenerateWork& work, const std::vector<int64_t>& end_token_ids,
                const text::Tokenizer* tokenizer);

  struct Outcome {
    std::string text;  // decided now; whole characters
    std::optional<FinishReason> finish;  // set: this token was the last
    std::string matched_stop;  // of kStopString
  };
  // The next generated token. Not called again once it has said finish.
  Outcome Add(TokenId token);

 private:
  std::optional<FinishReason> FinishById(TokenId token) const;
  // Text that is decided by `token`, which is part of the text or not.
  std::string Decide(TokenId token, bool in_text, bool is_last);

  const std::vector<int64_t> end_token_ids_;  // empty: none, or to be ignored
  const std::vector<TokenId> stop_token_ids_;
  const bool include_stop_, skip_special_tokens_;
  int tokens_left_;
  const text::Tokenizer* const tokenizer_;  // null: none; not owned
  std::optional<text::StreamingDetokenizer> detokenizer_;
  StopStringMatcher matcher_;
};

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_STOP_CONDITION_H_
