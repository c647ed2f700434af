#include "tests/text/tiny_tokenizer.h"

#include <string>
#include <utility>

#include "glog/logging.h"
#include "server/text/byte_alphabet.h"

namespace olmoe::text::testing {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kMergedTokens[] = {"th", "the", " t", " the", "in", "ing"};

Json AddedToken(TokenId id, std::string_view content, bool special) {
  return {{"id", id},
          {"content", std::string(content)},
          {"single_word", false},
          {"lstrip", false},
          {"rstrip", false},
          {"normalized", !special},
          {"special", special}};
}

}  // namespace

Json TinyTokenizerJson() {
  Json vocab = {{"<|endoftext|>", kEndOfText}, {"<|padding|>", kPadding}, {"  ", kTwoSpaces}};
  for (int byte = 0; byte < 256; ++byte) {
    vocab[AlphabetCharacter(static_cast<uint8_t>(byte))] = ByteId(static_cast<uint8_t>(byte));
  }
  const std::string space = AlphabetCharacter(' ');
  for (const std::string_view token : kMergedTokens) {
    std::string content(token);
    if (content[0] == ' ') content.replace(0, 1, space);
    vocab[content] = TinyId(token);
  }
  const Json merges = {"t h", "th e", space + " t", space + " the", "i n", "in g"};
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  const Json single = {{{"SpecialToken", {{"id", "<|endoftext|>"}, {"type_id", 0}}}},
                       {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}};
  const Json special_tokens = {
      {"<|endoftext|>",
       {{"id", "<|endoftext|>"}, {"ids", {kEndOfText}}, {"tokens", {"<|endoftext|>"}}}}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens",
           {AddedToken(kEndOfText, "<|endoftext|>", true),
            AddedToken(kPadding, "<|padding|>", true), AddedToken(kTwoSpaces, "  ", false)}},
          {"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer", byte_level},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", single},
            {"pair", Json::array()},
            {"special_tokens", special_tokens}}},
          {"decoder", byte_level},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

std::unique_ptr<Tokenizer> MakeTokenizer(const Json& json) {
  auto tokenizer = Tokenizer::FromJson(json.dump());
  CHECK(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

TokenId TinyId(std::string_view bytes) {
  if (bytes.size() == 1) return ByteId(static_cast<unsigned char>(bytes[0]));
  TokenId id = ByteId(255);
  for (const std::string_view token : kMergedTokens) {
    ++id;
    if (token == bytes) return id;
  }
  LOG(FATAL) << "no token " << bytes;
}

}  // namespace olmoe::text::testing
