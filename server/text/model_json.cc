#include "server/text/model_json.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace olmoe::text {
namespace {

void CheckOptions(const JsonCursor& model) {
  model.AllowOnly({"type", "dropout", "unk_token", "continuing_subword_prefix",
                   "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab",
                   "merges"});
  const std::string type = model["type"].String();
  if (type != "BPE") {
    model["type"].Fail(absl::StrCat(Quoted(type), " is not supported, only \"BPE\" is"));
  }
  if (!model["dropout"].IsNull()) model["dropout"].Fail("dropout is not supported");
  model["unk_token"].ExpectEmptyString();
  model["continuing_subword_prefix"].ExpectEmptyString();
  model["end_of_word_suffix"].ExpectEmptyString();
  model["fuse_unk"].Bool(false);  // without an unknown token it has no effect
  model["byte_fallback"].ExpectFalse();
  model["ignore_merges"].ExpectFalse();
}

absl::flat_hash_map<std::string, TokenId> ReadVocab(const JsonCursor& vocab) {
  absl::flat_hash_map<std::string, TokenId> ids;
  std::vector<bool> seen;
  vocab.ForEachField([&](const std::string& token, const JsonCursor& value) {
    const TokenId id = value.IntegerBelow(kMaxVocabSize);
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
    result.push_back(
        {id_of(pair->first), id_of(pair->second), id_of(pair->first + pair->second)});
  });
  return result;
}

}  // namespace

BpeModelSpec ReadBpeModel(const JsonCursor& model) {
  CheckOptions(model);
  BpeModelSpec spec;
  if (!model.ok()) return spec;
  spec.vocab = ReadVocab(model["vocab"]);
  if (model.ok()) spec.merges = ReadMerges(model["merges"], spec.vocab);
  return spec;
}

}  // namespace olmoe::text
