// Byte-level BPE as Hugging Face `tokenizers` runs it for OLMoE (GPT-NeoX style).
#ifndef OLMOE_SERVER_TEXT_TOKENIZER_H_
#define OLMOE_SERVER_TEXT_TOKENIZER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/util/token_id.h"

namespace olmoe::text {

// A half-open range of Unicode code points of the text as given, before NFC.
struct Offsets {
  uint32_t start;
  uint32_t end;
  bool operator==(const Offsets&) const = default;
};

struct Encoding {
  std::vector<TokenId> ids;
  std::vector<Offsets> offsets;  // one a token; empty unless asked for
};

struct EncodeOptions {
  bool add_special_tokens = false;  // what the post-processor's template adds
  bool offsets = false;
  // OUT_OF_RANGE for (about) more. Only text that NFC makes longer has more tokens than bytes.
  size_t max_tokens = SIZE_MAX;
  // Asked before and then every 64 KiB of work or so; its error ends the encoding. May be
  // empty.
  std::function<absl::Status()> interrupt = {};
};

// Some thousands of the tokens of a text.
using TakeTokens = absl::FunctionRef<absl::Status(Encoding&&)>;

// A tokenizer.json: special tokens are cut out of the raw text, the rest is
// normalized (NFC), other added tokens are cut out, the GPT-2 pattern splits the
// remainder into words, and every word becomes tokens by byte-pair merges.
// Ids and offsets equal those of Hugging Face `tokenizers`; only where a vocabulary
// lacks the token of a byte, which is then left out, do spans of that word differ.
// Immutable after construction: thread-safe.
class Tokenizer {
 public:
  // Errors: INVALID_ARGUMENT naming what of the file is malformed or not
  // supported (another model than BPE, another normalizer, ...). Hostile input
  // costs no more than memory proportional to its size.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromJson(std::string_view json);
  // The same from a file; NOT_FOUND where it does not exist.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromFile(const std::string& path);
  // That of a model: tokenizer.json, and what tokenizer_config.json changes of it, where there is
  // one. NOT_FOUND where there is no tokenizer.json.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromFolder(const std::string& folder);

  ~Tokenizer();

  // `utf8`: any text of less than 2 GiB, empty and NUL included. INVALID_ARGUMENT
  // unless it is well-formed UTF-8. Time is linear, whatever the text; only an endless run
  // of combining marks in wrong order costs O(n log n).
  absl::StatusOr<Encoding> Encode(std::string_view utf8, const EncodeOptions& options = {}) const;

  // The same, handed over in parts as they are found, in order; an error of `take` ends it.
  // Beside the text it takes its NFC where that differs, and of a word the tokens (4 bytes
  // each) until they are handed over: some KiB for natural text, up to 5 bytes a byte of text
  // for one endless word, and more while an endless run of marks is put in order.
  absl::Status EncodeInParts(std::string_view utf8, const EncodeOptions& options,
                             TakeTokens take) const;

  // Returns the text of `ids`; ill-formed bytes become U+FFFD, ids without a token nothing.
  std::string Decode(std::span<const TokenId> ids, bool skip_special_tokens) const;

  // Returns the bytes that a token stands for, which may begin or end inside a UTF-8
  // character; empty for ids without a token. They are valid as long as the tokenizer.
  std::string_view TokenBytes(TokenId id) const;

  bool IsSpecial(TokenId id) const;

  // One more than the largest id that has a token.
  int vocab_size() const;

  // What of the files is not followed; one line each, for the log.
  const std::vector<std::string>& notes() const;

 private:
  class Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

// Turns a stream of token ids into whole UTF-8 characters. Bytes that may begin a
// character are held back until it is complete or can not become one (then each
// maximal ill-formed part is U+FFFD). The concatenation of everything given out
// equals Tokenizer::Decode. Thread-compatible; the tokenizer must outlive it.
class StreamingDetokenizer {
 public:
  StreamingDetokenizer(const Tokenizer* tokenizer, bool skip_special_tokens);

  // Returns the whole characters that `id` completes; possibly none.
  std::string Add(TokenId id);
  // Returns what is still held back, as U+FFFD. REQUIRES: called once, at the end.
  std::string Flush();

 private:
  const Tokenizer* const tokenizer_;
  const bool skip_special_tokens_;
  std::string held_back_;  // at most 3 bytes: a possible beginning of a character
};

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_TOKENIZER_H_
