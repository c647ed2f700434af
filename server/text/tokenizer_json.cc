#include "server/text/tokenizer_json.h"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/text/byte_alphabet.h"
#include "server/text/nfc.h"
#include "server/util/file_errors.h"
#include "server/util/json_cursor.h"

namespace olmoe::text {
namespace {

// Bounds the walk of AddedTokenMatcher; the longest in use have some 30.
constexpr size_t kMaxAddedTokenBytes = 256;

// No tokenizer.json needs such depth. Four values for each of kMaxVocabSize merges and as many
// ids are 5 Mi.
constexpr JsonLimits kLimits = {.max_depth = 64, .max_values = 16 << 20};

// What this server needs to be absent, null or `false`.
void ExpectFalse(const JsonCursor& option) {
  if (option.BoolOr(false)) option.Fail("true is not supported");
}

void ExpectEmptyString(const JsonCursor& option) {
  if (option.IsNull() || option.String().empty()) return;
  option.Fail(absl::StrCat(Quoted(option.String()), " is not supported"));
}

TokenId ReadTokenId(const JsonCursor& id) {
  return static_cast<TokenId>(id.Integer(0, kMaxVocabSize - 1));
}

void FailUnsupported(const JsonCursor& component, std::string_view type, std::string_view only) {
  component["type"].Fail(absl::StrCat(Quoted(type), " is not supported, only ",
                                      absl::string_view(only.data(), only.size())));
}

// The first byte of UTF-8 text for which the vocabulary has no token.
std::optional<uint8_t> ByteWithoutToken(const absl::flat_hash_map<std::string, TokenId>& vocab) {
  for (int byte = 0; byte < 256; ++byte) {
    const bool occurs = byte != 0xC0 && byte != 0xC1 && byte < 0xF5;
    if (occurs && !vocab.contains(AlphabetCharacter(static_cast<uint8_t>(byte)))) {
      return static_cast<uint8_t>(byte);
    }
  }
  return std::nullopt;
}

OffsetTrimming TrimmingOf(const JsonCursor& byte_level) {
  byte_level["use_regex"].BoolOr(true);  // has no effect here
  const bool add_prefix_space = byte_level["add_prefix_space"].BoolOr(true);
  if (!byte_level["trim_offsets"].BoolOr(true)) return OffsetTrimming::kNone;
  return add_prefix_space ? OffsetTrimming::kAllButFirstSpace : OffsetTrimming::kAll;
}

// Reads a tokenizer.json into a spec. Mistakes are kept by the cursors; every method may go on
// after one. Thread-compatible.
class Reader {
 public:
  explicit Reader(TokenizerSpec* spec) : spec_(spec) {}

  void Read(const JsonCursor& root);

 private:
  // Notes every field of an object that is not among `known`.
  void IgnoreUnknown(const JsonCursor& object, std::initializer_list<std::string_view> known);
  void IgnoreUnknownOfByteLevel(const JsonCursor& component) {
    IgnoreUnknown(component, {"type", "add_prefix_space", "trim_offsets", "use_regex"});
  }
  void Ignore(const JsonCursor& value) {
    if (!value.IsNull()) ignored_.push_back(value.Path());
  }

  void ReadNormalizer(const JsonCursor& normalizer);
  // How many ByteLevel there are: exactly one is supported.
  int ReadPreTokenizer(const JsonCursor& pre_tokenizer);
  // At most one ByteLevel and one TemplateProcessing, in any order.
  void ReadPostProcessor(const JsonCursor& processor);
  SpecialTokensTemplate ReadTemplate(const JsonCursor& processor);
  void ReadDecoder(const JsonCursor& decoder);

  void ReadModel(const JsonCursor& model);
  void CheckModelOptions(const JsonCursor& model);

  void ReadAddedTokens(const JsonCursor& added_tokens);
  AddedTokenSpec ReadAddedToken(const JsonCursor& token);
  // Gives `added` its id, and takes it in.
  void TakeAddedToken(const JsonCursor& token, AddedTokenSpec added);
  void CheckAddedTokens(const JsonCursor& added_tokens) const;

  TokenizerSpec* const spec_;
  std::vector<std::string> ignored_;    // paths
  std::vector<std::string> other_ids_;  // of added tokens, and what the file says
  int byte_level_processors_ = 0;
  int templates_ = 0;
  absl::flat_hash_map<std::string, size_t> added_;  // content as written -> in added_tokens
  TokenId next_id_ = 0;
};

void Reader::IgnoreUnknown(const JsonCursor& object,
                           std::initializer_list<std::string_view> known) {
  object.ForEachField([&](const std::string& name, const JsonCursor& value) {
    if (std::find(known.begin(), known.end(), name) == known.end()) Ignore(value);
  });
}

void Reader::ReadNormalizer(const JsonCursor& normalizer) {
  if (normalizer.IsNull()) return;
  const std::string type = normalizer["type"].String();
  if (type == "NFC") {
    IgnoreUnknown(normalizer, {"type"});
    spec_->nfc = true;
  } else if (type == "Sequence") {
    IgnoreUnknown(normalizer, {"type", "normalizers"});
    normalizer["normalizers"].ForEach([&](const JsonCursor& each) { ReadNormalizer(each); });
  } else {
    FailUnsupported(normalizer, type, "NFC and Sequence");
  }
}

int Reader::ReadPreTokenizer(const JsonCursor& pre_tokenizer) {
  const std::string type = pre_tokenizer["type"].String();
  int count = 0;
  if (type == "ByteLevel") {
    IgnoreUnknownOfByteLevel(pre_tokenizer);
    ExpectFalse(pre_tokenizer["add_prefix_space"]);
    if (!pre_tokenizer["use_regex"].BoolOr(true)) {
      pre_tokenizer["use_regex"].Fail("false is not supported");
    }
    count = 1;
  } else if (type == "Sequence") {
    IgnoreUnknown(pre_tokenizer, {"type", "pretokenizers"});
    pre_tokenizer["pretokenizers"].ForEach(
        [&](const JsonCursor& each) { count += ReadPreTokenizer(each); });
  } else {
    FailUnsupported(pre_tokenizer, type, "ByteLevel and Sequence");
  }
  return count;
}

// ByteLevel, or a sequence of just that. Whatever joins its one text afterwards changes nothing.
void Reader::ReadDecoder(const JsonCursor& decoder) {
  const std::string type = decoder["type"].String();
  if (type == "ByteLevel") {
    IgnoreUnknownOfByteLevel(decoder);  // none of those changes what is decoded
  } else if (type == "Sequence") {
    IgnoreUnknown(decoder, {"type", "decoders"});
    int count = 0;
    decoder["decoders"].ForEach([&](const JsonCursor& each) {
      if (++count > 1 && each["type"].String() == "Fuse") return;
      if (count > 1) return FailUnsupported(each, each["type"].String(), "Fuse behind ByteLevel");
      ReadDecoder(each);
    });
    if (count == 0) decoder["decoders"].Fail("is empty");
  } else {
    FailUnsupported(decoder, type, "ByteLevel and Sequence");
  }
}

std::vector<TokenId> ReadSpecialTokenIds(const JsonCursor& token) {
  std::vector<TokenId> ids;
  token["ids"].ForEach([&](const JsonCursor& id) { ids.push_back(ReadTokenId(id)); });
  return ids;
}

// "single" of a TemplateProcessing: special tokens and, once, the text ("A").
SpecialTokensTemplate Reader::ReadTemplate(const JsonCursor& processor) {
  IgnoreUnknown(processor, {"type", "single", "pair", "special_tokens"});
  absl::flat_hash_map<std::string, std::vector<TokenId>> special_tokens;
  processor["special_tokens"].ForEachField([&](const std::string& name, const JsonCursor& token) {
    IgnoreUnknown(token, {"id", "ids", "tokens"});
    special_tokens[name] = ReadSpecialTokenIds(token);
  });
  SpecialTokensTemplate result;
  int texts = 0;
  processor["single"].ForEach([&](const JsonCursor& piece) {
    IgnoreUnknown(piece, {"Sequence", "SpecialToken"});
    if (!piece["Sequence"].IsNull()) {
      const std::string name = piece["Sequence"]["id"].String();
      if (name != "A") piece.Fail(absl::StrCat("sequence ", Quoted(name), " is not supported"));
      ++texts;
      return;
    }
    const std::string name = piece["SpecialToken"]["id"].String();
    const auto found = special_tokens.find(name);
    if (found == special_tokens.end()) {
      return piece.Fail(absl::StrCat(Quoted(name), " is not in special_tokens"));
    }
    std::vector<TokenId>& side = texts == 0 ? result.before : result.after;
    side.insert(side.end(), found->second.begin(), found->second.end());
  });
  if (texts != 1) processor["single"].Fail("must hold sequence \"A\" exactly once");
  return result;
}

void Reader::ReadPostProcessor(const JsonCursor& processor) {
  const std::string type = processor["type"].String();
  if (type == "ByteLevel") {
    if (++byte_level_processors_ > 1) processor.Fail("a second ByteLevel is not supported");
    IgnoreUnknownOfByteLevel(processor);
    spec_->trimming = TrimmingOf(processor);
  } else if (type == "TemplateProcessing") {
    if (++templates_ > 1) processor.Fail("a second TemplateProcessing is not supported");
    spec_->special_tokens = ReadTemplate(processor);
  } else if (type == "Sequence") {
    IgnoreUnknown(processor, {"type", "processors"});
    processor["processors"].ForEach([&](const JsonCursor& each) { ReadPostProcessor(each); });
  } else {
    FailUnsupported(processor, type, "ByteLevel, TemplateProcessing and Sequence");
  }
}

// Of a file without a type, from before there were types, `vocab` and `merges` tell that it is BPE.
void Reader::CheckModelOptions(const JsonCursor& model) {
  IgnoreUnknown(model,
                {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                 "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  const JsonCursor type = model["type"];
  if (!type.IsNull() && type.String() != "BPE") {
    type.Fail(absl::StrCat(Quoted(type.String()), " is not supported, only \"BPE\" is"));
  }
  const JsonCursor dropout = model["dropout"];
  if (!dropout.IsNull() && dropout.Number() != 0) {
    dropout.Fail(absl::StrCat("must be 0 or null, is ", dropout.Shown(),
                              ": the tokens of a text would be drawn at random"));
  }
  ExpectEmptyString(model["continuing_subword_prefix"]);
  ExpectEmptyString(model["end_of_word_suffix"]);
  model["fuse_unk"].BoolOr(false);  // without an unknown token it has no effect
}

absl::flat_hash_map<std::string, TokenId> ReadVocab(const JsonCursor& vocab) {
  absl::flat_hash_map<std::string, TokenId> ids;
  std::vector<bool> seen;
  vocab.ForEachField([&](const std::string& token, const JsonCursor& value) {
    const TokenId id = ReadTokenId(value);
    if (static_cast<size_t>(id) >= seen.size()) seen.resize(id + 1);
    if (value.ok() && seen[id]) value.Fail(absl::StrCat("id ", id, " has another token already"));
    seen[id] = true;
    ids.emplace(token, id);
  });
  if (vocab.ok() && ids.empty()) vocab.Fail("is empty");
  return ids;
}

// What stands in for bytes without a token is not supported. It has no effect where all have one.
void CheckStandIns(const JsonCursor& model,
                   const absl::flat_hash_map<std::string, TokenId>& vocab) {
  const std::optional<uint8_t> byte = ByteWithoutToken(vocab);
  if (!byte.has_value()) return;
  const std::string because = absl::StrCat(" is not supported where a byte has no token, as ",
                                           Quoted(AlphabetCharacter(*byte)));
  const JsonCursor unknown = model["unk_token"], fallback = model["byte_fallback"];
  if (!unknown.IsNull() && !unknown.String().empty()) {
    unknown.Fail(absl::StrCat(Quoted(unknown.String()), because));
  }
  if (fallback.BoolOr(false)) fallback.Fail(absl::StrCat("true", because));
}

// The two tokens of "a b" or ["a", "b"].
std::optional<std::pair<std::string, std::string>> ReadPair(const JsonCursor& merge) {
  if (merge.IsString()) {
    const std::string both = merge.String();
    const size_t space = both.find(' ');
    if (space == std::string::npos || both.find(' ', space + 1) != std::string::npos) {
      merge.Fail(absl::StrCat("must be two tokens and one space, is ", Quoted(both)));
      return std::nullopt;
    }
    return std::make_pair(both.substr(0, space), both.substr(space + 1));
  }
  std::vector<std::string> parts;
  merge.ForEach([&](const JsonCursor& part) { parts.push_back(part.String()); });
  if (parts.size() != 2) merge.Fail(absl::StrCat("must be two tokens, is ", parts.size()));
  if (!merge.ok()) return std::nullopt;
  return std::make_pair(std::move(parts[0]), std::move(parts[1]));
}

std::vector<BpeMerge> ReadMerges(const JsonCursor& merges,
                                 const absl::flat_hash_map<std::string, TokenId>& vocab) {
  std::vector<BpeMerge> result;
  merges.ForEach([&](const JsonCursor& merge) {
    if (merge.IsString() && absl::StartsWith(merge.String(), "#version")) return;
    const auto pair = ReadPair(merge);
    if (!pair.has_value()) return;
    const auto id_of = [&](const std::string& token) {
      const auto found = vocab.find(token);
      if (found != vocab.end()) return found->second;
      merge.Fail(absl::StrCat("token ", Quoted(token), " is not in model.vocab"));
      return 0;
    };
    result.push_back({id_of(pair->first), id_of(pair->second), id_of(pair->first + pair->second)});
  });
  return result;
}

// BPE without dropout, prefix or suffix, and without what stands in for unknown bytes.
void Reader::ReadModel(const JsonCursor& model) {
  CheckModelOptions(model);
  if (!model.ok()) return;
  BpeModelSpec& spec = spec_->model;
  spec.ignore_merges = model["ignore_merges"].BoolOr(false);
  spec.vocab = ReadVocab(model["vocab"]);
  if (model.ok()) CheckStandIns(model, spec.vocab);
  if (model.ok()) spec.merges = ReadMerges(model["merges"], spec.vocab);
}

AddedTokenSpec Reader::ReadAddedToken(const JsonCursor& token) {
  IgnoreUnknown(token,
                {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  AddedTokenSpec spec;
  spec.token = {.id = ReadTokenId(token["id"]),
                .single_word = token["single_word"].BoolOr(false),
                .lstrip = token["lstrip"].BoolOr(false),
                .rstrip = token["rstrip"].BoolOr(false)};
  spec.content = token["content"].String();
  spec.special = token["special"].BoolOr(false);
  spec.normalized = token["normalized"].BoolOr(!spec.special);
  if (spec.content.size() > kMaxAddedTokenBytes) {
    token["content"].Fail(absl::StrCat("must have at most ", kMaxAddedTokenBytes, " bytes, has ",
                                       spec.content.size()));
  }
  return spec;
}

// Of two with the same content the later one counts.
void Reader::TakeAddedToken(const JsonCursor& token, AddedTokenSpec added) {
  const TokenId id_in_file = added.token.id;
  const auto [known, is_new] = added_.emplace(added.content, spec_->added_tokens.size());
  if (!is_new) {
    AddedTokenSpec& earlier = spec_->added_tokens[known->second];
    added.token.id = earlier.token.id;
    added.special = added.special || earlier.special;
    earlier = added;
  } else {
    const auto in_vocab = spec_->model.vocab.find(added.content);
    added.token.id = in_vocab != spec_->model.vocab.end() ? in_vocab->second : next_id_++;
    spec_->added_tokens.push_back(added);
  }
  if (added.token.id == id_in_file) return;
  other_ids_.push_back(
      absl::StrCat(added.token.id, " and not ", id_in_file, " for ", added.content));
}

// Ids and contents that several tokens would have.
void Reader::CheckAddedTokens(const JsonCursor& added_tokens) const {
  absl::flat_hash_map<TokenId, std::string> contents;
  for (const auto& [content, id] : spec_->model.vocab) contents.emplace(id, content);
  for (const auto& [content, index] : added_) {
    const TokenId id = spec_->added_tokens[index].token.id;
    const auto [holder, is_free] = contents.emplace(id, content);
    if (!is_free && holder->second != content) {
      added_tokens.Fail(
          absl::StrCat("id ", id, " of ", Quoted(content), " is that of ", Quoted(holder->second)));
    }
    if (id >= kMaxVocabSize) added_tokens.Fail(absl::StrCat("id ", id, " is too large"));
  }
  absl::flat_hash_set<std::string> normalized;
  for (const AddedTokenSpec& token : spec_->added_tokens) {
    if (token.normalized && !normalized.insert(token.content).second) {
      added_tokens.Fail(absl::StrCat("two are ", Quoted(token.content), " once normalized"));
    }
  }
}

void Reader::ReadAddedTokens(const JsonCursor& added_tokens) {
  if (added_tokens.IsNull()) return;
  next_id_ = static_cast<TokenId>(spec_->model.vocab.size());
  added_tokens.ForEach([&](const JsonCursor& token) {
    AddedTokenSpec added = ReadAddedToken(token);
    if (!added.content.empty()) TakeAddedToken(token, std::move(added));
  });
  for (AddedTokenSpec& token : spec_->added_tokens) {
    if (spec_->nfc && token.normalized) token.content = NormalizeNfc(token.content);
  }
  CheckAddedTokens(added_tokens);
}

void CheckTemplateIds(const JsonCursor& root, const TokenizerSpec& spec) {
  absl::flat_hash_set<TokenId> known;
  for (const auto& [content, id] : spec.model.vocab) known.insert(id);
  for (const AddedTokenSpec& token : spec.added_tokens) known.insert(token.token.id);
  const auto check = [&](const std::vector<TokenId>& ids) {
    for (const TokenId id : ids) {
      if (known.contains(id)) continue;
      root["post_processor"].Fail(absl::StrCat("special token id ", id, " has no token"));
    }
  };
  check(spec.special_tokens.before);
  check(spec.special_tokens.after);
}

void Reader::Read(const JsonCursor& root) {
  IgnoreUnknown(root, {"version", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
                       "decoder", "model"});
  if (!root["version"].IsNull() && root["version"].String() != "1.0") {
    root["version"].Fail("must be \"1.0\"");
  }
  ReadNormalizer(root["normalizer"]);
  if (ReadPreTokenizer(root["pre_tokenizer"]) != 1) {
    root["pre_tokenizer"].Fail("must hold ByteLevel exactly once");
  }
  if (!root["post_processor"].IsNull()) ReadPostProcessor(root["post_processor"]);
  ReadDecoder(root["decoder"]);
  ReadModel(root["model"]);
  if (!root.ok()) return;
  ReadAddedTokens(root["added_tokens"]);
  CheckTemplateIds(root, *spec_);
  if (!ignored_.empty()) spec_->notes.push_back("ignored: " + ListText(ignored_));
  if (!other_ids_.empty()) {
    spec_->notes.push_back("added tokens have the ids that Hugging Face tokenizers gives them: " +
                           ListText(other_ids_));
  }
}

}  // namespace

absl::StatusOr<TokenizerSpec> ParseTokenizerJson(std::string_view json) {
  TokenizerSpec spec;
  const absl::Status status =
      ReadJson(json, kLimits, [&spec](const JsonCursor& root) { Reader(&spec).Read(root); });
  if (!status.ok()) return status;
  return spec;
}

}  // namespace olmoe::text
