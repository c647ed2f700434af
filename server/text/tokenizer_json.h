// What a tokenizer.json says, checked and in plain structs.
#ifndef OLMOE_SERVER_TEXT_TOKENIZER_JSON_H_
#define OLMOE_SERVER_TEXT_TOKENIZER_JSON_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "server/text/added_tokens.h"
#include "server/text/bpe.h"
#include "server/util/token_id.h"

namespace olmoe::text {

// Ids are below this: four times the largest vocabulary in use, and small enough
// for tables indexed by id whatever a file claims.
inline constexpr TokenId kMaxVocabSize = 1 << 20;

struct BpeModelSpec {
  absl::flat_hash_map<std::string, TokenId> vocab;  // every id once
  std::vector<BpeMerge> merges;                     // in order of rank
  bool ignore_merges = false;  // a word that is in `vocab` is that token, whatever the merges say
};

struct AddedTokenSpec {
  AddedToken token;
  std::string content;  // not empty; NFC where `normalized` and the normalizer is NFC
  bool normalized = false;  // looked for after normalization, otherwise before
  bool special = false;
};

// What the post-processor does to offsets.
enum class OffsetTrimming {
  kNone,
  kAll,  // white space at both ends of a token is not part of its span
  kAllButFirstSpace,  // the same, but a single space at the text's beginning stays
};

// Ids around the text where special tokens are asked for.
struct SpecialTokensTemplate {
  std::vector<TokenId> before;
  std::vector<TokenId> after;
};

struct TokenizerSpec {
  BpeModelSpec model;
  std::vector<AddedTokenSpec> added_tokens;  // contents and ids unique
  bool nfc = false;
  OffsetTrimming trimming = OffsetTrimming::kNone;
  SpecialTokensTemplate special_tokens;
  std::vector<std::string> notes;  // what of the file is not followed; for the log
};

// Reads what Hugging Face `tokenizers` reads, and gives the ids that it gives: an added token
// that the vocabulary lacks has the next free id, whatever id the file says. `truncation`,
// `padding` and unknown fields are left out and noted.
//
// INVALID_ARGUMENT, beginning with where in the file, for what is malformed or not
// supported.
absl::StatusOr<TokenizerSpec> ParseTokenizerJson(std::string_view json);

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_TOKENIZER_JSON_H_
