#include "server/text/tokenizer_json.h"

#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
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

void ReadNormalizer(const JsonCursor& normalizer, TokenizerSpec* spec) {
  if (normalizer.IsNull()) return;
  const std::string type = normalizer["type"].String();
  if (type == "NFC") {
    normalizer.AllowOnly({"type"});
    spec->nfc = true;
  } else if (type == "Sequence") {
    normalizer.AllowOnly({"type", "normalizers"});
    normalizer["normalizers"].ForEach([&](const JsonCursor& n) { ReadNormalizer(n, spec); });
  } else {
    FailUnsupported(normalizer, type, "NFC and Sequence");
  }
}

void AllowOnlyByteLevelFields(const JsonCursor& component) {
  component.AllowOnly({"type", "add_prefix_space", "trim_offsets", "use_regex"});
}

// How many ByteLevel there are: exactly one is supported.
int ReadPreTokenizer(const JsonCursor& pre_tokenizer) {
  const std::string type = pre_tokenizer["type"].String();
  int count = 0;
  if (type == "ByteLevel") {
    AllowOnlyByteLevelFields(pre_tokenizer);
    ExpectFalse(pre_tokenizer["add_prefix_space"]);
    if (!pre_tokenizer["use_regex"].BoolOr(true)) {
      pre_tokenizer["use_regex"].Fail("false is not supported");
    }
    count = 1;
  } else if (type == "Sequence") {
    pre_tokenizer.AllowOnly({"type", "pretokenizers"});
    pre_tokenizer["pretokenizers"].ForEach(
        [&](const JsonCursor& element) { count += ReadPreTokenizer(element); });
  } else {
    FailUnsupported(pre_tokenizer, type, "ByteLevel and Sequence");
  }
  return count;
}

void ReadDecoder(const JsonCursor& decoder) {
  const std::string type = decoder["type"].String();
  if (type != "ByteLevel") FailUnsupported(decoder, type, "ByteLevel");
  AllowOnlyByteLevelFields(decoder);  // none of them changes what is decoded
}

std::vector<TokenId> ReadSpecialTokenIds(const JsonCursor& token) {
  token.AllowOnly({"id", "ids", "tokens"});
  std::vector<TokenId> ids;
  token["ids"].ForEach([&](const JsonCursor& id) { ids.push_back(ReadTokenId(id)); });
  return ids;
}

// "single" of a TemplateProcessing: special tokens and, once, the text ("A").
SpecialTokensTemplate ReadTemplate(const JsonCursor& processor) {
  processor.AllowOnly({"type", "single", "pair", "special_tokens"});
  absl::flat_hash_map<std::string, std::vector<TokenId>> special_tokens;
  processor["special_tokens"].ForEachField([&](const std::string& name, const JsonCursor& token) {
    special_tokens[name] = ReadSpecialTokenIds(token);
  });
  SpecialTokensTemplate result;
  int texts = 0;
  processor["single"].ForEach([&](const JsonCursor& piece) {
    piece.AllowOnly({"Sequence", "SpecialToken"});
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

OffsetTrimming ReadTrimming(const JsonCursor& byte_level) {
  AllowOnlyByteLevelFields(byte_level);
  byte_level["use_regex"].BoolOr(true);  // has no effect here
  const bool add_prefix_space = byte_level["add_prefix_space"].BoolOr(true);
  if (!byte_level["trim_offsets"].BoolOr(true)) return OffsetTrimming::kNone;
  return add_prefix_space ? OffsetTrimming::kAllButFirstSpace : OffsetTrimming::kAll;
}

// At most one ByteLevel and one TemplateProcessing, in any order.
class PostProcessorReader {
 public:
  explicit PostProcessorReader(TokenizerSpec* spec) : spec_(spec) {}

  void Read(const JsonCursor& processor) {
    const std::string type = processor["type"].String();
    if (type == "ByteLevel") {
      if (++byte_levels_ > 1) processor.Fail("a second ByteLevel is not supported");
      spec_->trimming = ReadTrimming(processor);
    } else if (type == "TemplateProcessing") {
      if (++templates_ > 1) processor.Fail("a second TemplateProcessing is not supported");
      spec_->special_tokens = ReadTemplate(processor);
    } else if (type == "Sequence") {
      processor.AllowOnly({"type", "processors"});
      processor["processors"].ForEach([&](const JsonCursor& element) { Read(element); });
    } else {
      FailUnsupported(processor, type, "ByteLevel, TemplateProcessing and Sequence");
    }
  }

 private:
  TokenizerSpec* const spec_;
  int byte_levels_ = 0;
  int templates_ = 0;
};

void CheckOptions(const JsonCursor& model) {
  model.AllowOnly({"type", "dropout", "unk_token", "continuing_subword_prefix",
                   "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab",
                   "merges"});
  const std::string type = model["type"].String();
  if (type != "BPE") {
    model["type"].Fail(absl::StrCat(Quoted(type), " is not supported, only \"BPE\" is"));
  }
  if (!model["dropout"].IsNull()) model["dropout"].Fail("dropout is not supported");
  ExpectEmptyString(model["unk_token"]);
  ExpectEmptyString(model["continuing_subword_prefix"]);
  ExpectEmptyString(model["end_of_word_suffix"]);
  model["fuse_unk"].BoolOr(false);  // without an unknown token it has no effect
  ExpectFalse(model["byte_fallback"]);
  ExpectFalse(model["ignore_merges"]);
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

// BPE without dropout, unknown token, prefix, suffix or byte fallback.
BpeModelSpec ReadBpeModel(const JsonCursor& model) {
  CheckOptions(model);
  BpeModelSpec spec;
  if (!model.ok()) return spec;
  spec.vocab = ReadVocab(model["vocab"]);
  if (model.ok()) spec.merges = ReadMerges(model["merges"], spec.vocab);
  return spec;
}

AddedTokenSpec ReadAddedToken(const JsonCursor& token, bool nfc) {
  token.AllowOnly({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  ExpectFalse(token["single_word"]);
  ExpectFalse(token["lstrip"]);
  ExpectFalse(token["rstrip"]);
  AddedTokenSpec spec;
  spec.id = ReadTokenId(token["id"]);
  spec.content = token["content"].String();
  spec.special = token["special"].BoolOr(false);
  spec.normalized = token["normalized"].BoolOr(!spec.special);
  if (spec.content.empty() || spec.content.size() > kMaxAddedTokenBytes) {
    token["content"].Fail(
        absl::StrCat("must have 1 to ", kMaxAddedTokenBytes, " bytes, has ", spec.content.size()));
  }
  if (nfc && spec.normalized) spec.content = NormalizeNfc(spec.content);
  return spec;
}

void ReadAddedTokens(const JsonCursor& added_tokens, TokenizerSpec* spec) {
  if (added_tokens.IsNull()) return;
  absl::flat_hash_set<TokenId> taken;  // by tokens of the vocabulary, then by added ones
  for (const auto& [content, id] : spec->model.vocab) taken.insert(id);
  absl::flat_hash_set<std::string> contents;
  added_tokens.ForEach([&](const JsonCursor& token) {
    AddedTokenSpec added = ReadAddedToken(token, spec->nfc);
    const auto in_vocab = spec->model.vocab.find(token["content"].String());
    if (!contents.insert(added.content).second) token.Fail("an earlier one has the same content");
    if (in_vocab != spec->model.vocab.end()) {
      if (in_vocab->second != added.id) {
        token["id"].Fail(
            absl::StrCat("is ", added.id, ", but ", in_vocab->second, " in model.vocab"));
      }
    } else if (!taken.insert(added.id).second) {
      token["id"].Fail(absl::StrCat(added.id, " has another token already"));
    }
    spec->added_tokens.push_back(std::move(added));
  });
}

void CheckTemplateIds(const JsonCursor& root, const TokenizerSpec& spec) {
  absl::flat_hash_set<TokenId> known;
  for (const auto& [content, id] : spec.model.vocab) known.insert(id);
  for (const AddedTokenSpec& token : spec.added_tokens) known.insert(token.id);
  const auto check = [&](const std::vector<TokenId>& ids) {
    for (const TokenId id : ids) {
      if (known.contains(id)) continue;
      root["post_processor"].Fail(absl::StrCat("special token id ", id, " has no token"));
    }
  };
  check(spec.special_tokens.before);
  check(spec.special_tokens.after);
}

void ReadTokenizer(const JsonCursor& root, TokenizerSpec* spec) {
  root.AllowOnly({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                  "post_processor", "decoder", "model"});
  if (!root["version"].IsNull() && root["version"].String() != "1.0") {
    root["version"].Fail("must be \"1.0\"");
  }
  if (!root["truncation"].IsNull()) root["truncation"].Fail("truncation is not supported");
  if (!root["padding"].IsNull()) root["padding"].Fail("padding is not supported");
  ReadNormalizer(root["normalizer"], spec);
  if (ReadPreTokenizer(root["pre_tokenizer"]) != 1) {
    root["pre_tokenizer"].Fail("must hold ByteLevel exactly once");
  }
  if (!root["post_processor"].IsNull()) PostProcessorReader(spec).Read(root["post_processor"]);
  ReadDecoder(root["decoder"]);
  spec->model = ReadBpeModel(root["model"]);
  if (!root.ok()) return;
  ReadAddedTokens(root["added_tokens"], spec);
  CheckTemplateIds(root, *spec);
}

}  // namespace

absl::StatusOr<TokenizerSpec> ParseTokenizerJson(std::string_view json) {
  const absl::StatusOr<JsonDocument> document = JsonDocument::Parse(json, kLimits);
  if (!document.ok()) return document.status();
  TokenizerSpec spec;
  absl::Status first_error;
  ReadTokenizer(JsonCursor(*document, &first_error), &spec);
  if (!first_error.ok()) return first_error;
  return spec;
}

}  // namespace olmoe::text
