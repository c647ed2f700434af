// From text to ids: the stages that text passes through, in that order.
#ifndef OLMOE_SERVER_TEXT_ENCODER_H_
#define OLMOE_SERVER_TEXT_ENCODER_H_

#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "server/text/added_tokens.h"
#include "server/text/bpe.h"
#include "server/text/tokenizer.h"
#include "server/text/tokenizer_json.h"
#include "server/text/vocabulary.h"

namespace olmoe::text {

// Everything that encoding and decoding need to know. Immutable after construction:
// thread-safe.
struct Stages {
  explicit Stages(const TokenizerSpec& spec);

  AddedTokenMatcher raw_tokens;         // cut out of the text as given
  bool nfc;                             // then the pieces between are normalized
  AddedTokenMatcher normalized_tokens;  // cut out of the normalized pieces
  Vocabulary vocabulary;
  Bpe bpe;  // and what is left is split into words and merged
  OffsetTrimming trimming;
  SpecialTokensTemplate special_tokens;
};

// `utf8` must be well-formed and of at most INT32_MAX bytes. Errors: those of
// `options.interrupt` and of `take`.
absl::Status EncodeText(const Stages& stages, std::string_view utf8, const EncodeOptions& options,
                        TakeTokens take);

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_ENCODER_H_
