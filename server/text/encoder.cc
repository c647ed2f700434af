#include "server/text/encoder.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/text/byte_alphabet.h"
#include "server/text/nfc.h"
#include "server/text/offset_cursor.h"
#include "server/text/pretokenizer.h"
#include "server/util/utf8.h"

namespace olmoe::text {
namespace {

AddedTokenMatcher BuildMatcher(const TokenizerSpec& spec, bool normalized) {
  AddedTokenMatcher matcher;
  for (const AddedTokenSpec& token : spec.added_tokens) {
    if (token.normalized == normalized) CHECK(matcher.Add(token.content, token.token));
  }
  return matcher;
}

Vocabulary BuildVocabulary(const TokenizerSpec& spec) {
  Vocabulary vocabulary;
  for (const auto& [content, id] : spec.model.vocab) vocabulary.Set(id, content, false);
  for (const AddedTokenSpec& token : spec.added_tokens) {
    vocabulary.Set(token.token.id, token.content, token.special);
  }
  return vocabulary;
}

Bpe BuildBpe(const BpeModelSpec& model, const Vocabulary& vocabulary) {
  std::array<TokenId, 256> byte_ids;
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = model.vocab.find(AlphabetCharacter(static_cast<uint8_t>(byte)));
    byte_ids[byte] = found == model.vocab.end() ? -1 : found->second;
  }
  std::vector<BpeToken> tokens, whole;
  for (const auto& [content, id] : model.vocab) {
    tokens.push_back({id, vocabulary.Bytes(id)});
    // Literal text is no word that could be looked up.
    const bool is_word = model.ignore_merges && BytesFromAlphabet(content).has_value();
    if (is_word) whole.push_back(tokens.back());
  }
  return Bpe(byte_ids, model.merges, tokens, whole);
}

// Takes white space off both ends, as the ByteLevel post-processor does.
Offsets Trimmed(Offsets offsets, SpaceCounts spaces) {
  offsets.start = std::min(offsets.start + spaces.leading, offsets.end);
  if (offsets.end >= spaces.trailing) {
    offsets.end = std::max(offsets.end - spaces.trailing, offsets.start);
  }
  return offsets;
}

// Work between two questions whether to go on, and tokens between two calls of TakeTokens.
constexpr size_t kPauseBytes = 64 << 10;
constexpr size_t kPartTokens = 4 << 10;

// One call of EncodeText. Every method returns soon once status_ is an error.
// Thread-compatible.
class Encoder {
 public:
  Encoder(const Stages& stages, std::string_view text, const EncodeOptions& options,
          TakeTokens take)
      : stages_(stages), text_(text), options_(options), take_(take) {}

  absl::Status Run() &&;

 private:
  // A piece of text_ without added tokens of the raw text, and the code points before it.
  void EncodeRawPiece(std::string_view piece, uint32_t code_points);
  void EncodeNormalizedPiece(std::string_view text, OffsetCursor cursor);
  // A token of `text`; `cursor` stands at its beginning, and stays before what follows.
  void AddAddedToken(const AddedTokenSplitter::Piece& piece, std::string_view text,
                     OffsetCursor* cursor);
  // Bytes `begin` to `end` of `piece`, which hold no added token; `cursor` stands at `begin`.
  void EncodeWords(std::string_view piece, size_t begin, size_t end, OffsetCursor* cursor);
  void EncodeLongWord(std::string_view word, OffsetCursor* cursor);
  // Of the tokens from index `first` on, where offsets are asked for.
  void AddWordOffsets(size_t first, OffsetCursor* cursor);
  // `spaces`: of the token that is there.
  void AddOffsets(SpaceCounts spaces, Offsets offsets);
  void AddTemplateTokens(const std::vector<TokenId>& ids);

  // Called after each `bytes` of work, with the tokens that are not in encoding_ yet. False:
  // give up.
  bool GoOn(size_t bytes, size_t more_tokens = 0);
  // Hands over the tokens that are there.
  void Flush();

  const Stages& stages_;
  const std::string_view text_;
  const EncodeOptions& options_;
  const TakeTokens take_;
  Bpe::Workspace workspace_;
  size_t bytes_since_pause_ = 0;
  size_t handed_over_ = 0;  // tokens
  Encoding encoding_;  // not yet handed over
  absl::Status status_;
};

absl::Status Encoder::Run() && {
  if (!GoOn(kPauseBytes)) return status_;
  AddTemplateTokens(stages_.special_tokens.before);
  OffsetCursor cursor(text_, std::nullopt, 0);
  AddedTokenSplitter splitter(&stages_.raw_tokens, text_);
  while (const std::optional<AddedTokenSplitter::Piece> piece = splitter.Next()) {
    if (options_.offsets) cursor.MoveTo(piece->begin);
    if (piece->token.has_value()) {
      AddAddedToken(*piece, text_, &cursor);
    } else {
      EncodeRawPiece(text_.substr(piece->begin, piece->end - piece->begin), cursor.code_points());
    }
    if (!GoOn(piece->end - piece->begin)) return status_;
  }
  AddTemplateTokens(stages_.special_tokens.after);
  if (status_.ok()) Flush();
  return status_;
}

bool Encoder::GoOn(size_t bytes, size_t more_tokens) {
  bytes_since_pause_ += bytes;
  if (status_.ok() && bytes_since_pause_ >= kPauseBytes) {
    bytes_since_pause_ = 0;
    if (options_.interrupt) status_ = options_.interrupt();
  }
  if (status_.ok() && handed_over_ + encoding_.ids.size() + more_tokens > options_.max_tokens) {
    status_ = absl::OutOfRangeError(absl::StrCat("text of ", text_.size(), " bytes has more than ",
                                                 options_.max_tokens, " tokens"));
  }
  if (status_.ok() && encoding_.ids.size() >= kPartTokens) Flush();
  return status_.ok();
}

void Encoder::Flush() {
  handed_over_ += encoding_.ids.size();
  status_ = take_(std::move(encoding_));
  encoding_.ids.clear();
  encoding_.offsets.clear();
}

void Encoder::AddAddedToken(const AddedTokenSplitter::Piece& piece, std::string_view text,
                            OffsetCursor* cursor) {
  encoding_.ids.push_back(*piece.token);
  if (!options_.offsets) return;
  const size_t bytes = piece.end - piece.begin;
  const SpaceCounts spaces = CountSpaces(text.substr(piece.begin, bytes));
  // The next piece may begin inside this one.
  AddOffsets(spaces,
             piece.next < piece.end ? OffsetCursor(*cursor).Take(bytes) : cursor->Take(bytes));
}

void Encoder::EncodeRawPiece(std::string_view piece, uint32_t code_points) {
  if (!stages_.nfc || IsCertainlyNfc(piece)) {
    EncodeNormalizedPiece(piece, OffsetCursor(piece, std::nullopt, code_points));
    return;
  }
  std::string normalized;
  normalized.reserve(piece.size());
  for (NfcReader reader(piece); !reader.done();) {
    const size_t before = normalized.size();
    reader.Next(&normalized, nullptr);
    if (!GoOn(normalized.size() - before)) return;
  }
  EncodeNormalizedPiece(normalized, OffsetCursor(normalized, NfcReader(piece), code_points));
}

void Encoder::EncodeNormalizedPiece(std::string_view text, OffsetCursor cursor) {
  AddedTokenSplitter splitter(&stages_.normalized_tokens, text);
  while (const std::optional<AddedTokenSplitter::Piece> piece = splitter.Next()) {
    if (options_.offsets) cursor.MoveTo(piece->begin);
    if (!piece->token.has_value()) {
      EncodeWords(text, piece->begin, piece->end, &cursor);
    } else {
      AddAddedToken(*piece, text, &cursor);
      GoOn(piece->end - piece->begin);
    }
    if (!status_.ok()) return;
  }
}

void Encoder::EncodeWords(std::string_view piece, size_t begin, size_t end, OffsetCursor* cursor) {
  const std::string_view visible = piece.substr(0, end);  // the split pattern sees no further
  while (begin < end) {
    const size_t word_end = WordEnd(visible, begin);
    const std::string_view word = visible.substr(begin, word_end - begin);
    if (word.size() >= Bpe::kLongWordBytes) {
      EncodeLongWord(word, cursor);
    } else {
      const size_t first = encoding_.ids.size();
      stages_.bpe.EncodeWord(word, &workspace_, &encoding_.ids);
      AddWordOffsets(first, cursor);
    }
    if (options_.offsets && status_.ok()) cursor->MoveTo(word_end);
    begin = word_end;
    if (!GoOn(word.size())) return;
  }
}

void Encoder::EncodeLongWord(std::string_view word, OffsetCursor* cursor) {
  Bpe::LongWord long_word(&stages_.bpe, word, &workspace_);
  while (!long_word.done()) {
    long_word.Step();
    if (!GoOn(Bpe::LongWord::kBlockBytes, long_word.num_ids())) return;
  }
  while (long_word.num_ids() > 0) {
    const size_t first = encoding_.ids.size();
    long_word.Take(kPartTokens, &encoding_.ids);
    AddWordOffsets(first, cursor);
    if (!GoOn(encoding_.ids.size() - first)) return;
  }
}

void Encoder::AddWordOffsets(size_t first, OffsetCursor* cursor) {
  if (!options_.offsets) return;
  for (size_t token = first; token < encoding_.ids.size(); ++token) {
    const TokenId id = encoding_.ids[token];
    AddOffsets(stages_.vocabulary.Spaces(id), cursor->Take(stages_.vocabulary.Bytes(id).size()));
  }
}

void Encoder::AddOffsets(SpaceCounts spaces, Offsets offsets) {
  if (stages_.trimming != OffsetTrimming::kNone) {
    const bool keep_one = stages_.trimming == OffsetTrimming::kAllButFirstSpace;
    if (keep_one && offsets.start == 0 && spaces.leading == 1) spaces.leading = 0;
    offsets = Trimmed(offsets, spaces);
  }
  encoding_.offsets.push_back(offsets);
}

void Encoder::AddTemplateTokens(const std::vector<TokenId>& ids) {
  if (!options_.add_special_tokens) return;
  encoding_.ids.insert(encoding_.ids.end(), ids.begin(), ids.end());
  if (options_.offsets) encoding_.offsets.resize(encoding_.ids.size(), Offsets{0, 0});
}

}  // namespace

Stages::Stages(const TokenizerSpec& spec)
    : raw_tokens(BuildMatcher(spec, /*normalized=*/false)),
      nfc(spec.nfc),
      normalized_tokens(BuildMatcher(spec, /*normalized=*/true)),
      vocabulary(BuildVocabulary(spec)),
      bpe(BuildBpe(spec.model, vocabulary)),
      trimming(spec.trimming),
      special_tokens(spec.special_tokens) {}

absl::Status EncodeText(const Stages& stages, std::string_view utf8, const EncodeOptions& options,
                        TakeTokens take) {
  return Encoder(stages, utf8, options, take).Run();
}

}  // namespace olmoe::text
