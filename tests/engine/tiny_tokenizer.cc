#include "tests/engine/tiny_tokenizer.h"

#include <utility>

#include "glog/logging.h"
#include "nlohmann/json.hpp"

namespace olmoe::engine {
namespace {

// The character that GPT-2's alphabet has for a byte: itself where it is printable, else the next
// one from U+0100 on. As UTF-8.
std::vector<std::string> ByteAlphabet() {
  std::vector<std::string> alphabet;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int code_point = printable ? byte : next++;
    std::string utf8;
    if (code_point < 0x80) {
      utf8 = static_cast<char>(code_point);
    } else {
      utf8 = static_cast<char>(0xC0 | (code_point >> 6));
      utf8 += static_cast<char>(0x80 | (code_point & 0x3F));
    }
    alphabet.push_back(utf8);
  }
  return alphabet;
}

}  // namespace

std::unique_ptr<text::Tokenizer> MakeTinyTokenizer() {
  const std::vector<std::string> alphabet = ByteAlphabet();
  const std::string& newline = alphabet['\n'];
  nlohmann::json vocab;
  for (int byte = 0; byte < 256; ++byte) vocab[alphabet[byte]] = byte;
  vocab["ab"] = kTokenAb;
  vocab["abc"] = kTokenAbc;
  vocab[newline + newline] = kTokenBlankLine;
  vocab["<|end|>"] = kTokenEnd;
  const nlohmann::json byte_level = {{"type", "ByteLevel"},
                                     {"add_prefix_space", false},
                                     {"trim_offsets", true},
                                     {"use_regex", true}};
  const nlohmann::json file = {{"version", "1.0"},
                               {"truncation", nullptr},
                               {"padding", nullptr},
                               {"added_tokens",
                                {{{"id", kTokenEnd},
                                  {"content", "<|end|>"},
                                  {"single_word", false},
                                  {"lstrip", false},
                                  {"rstrip", false},
                                  {"normalized", false},
                                  {"special", true}}}},
                               {"normalizer", {{"type", "NFC"}}},
                               {"pre_tokenizer", byte_level},
                               {"post_processor", byte_level},
                               {"decoder", byte_level},
                               {"model",
                                {{"type", "BPE"},
                                 {"dropout", nullptr},
                                 {"unk_token", nullptr},
                                 {"continuing_subword_prefix", nullptr},
                                 {"end_of_word_suffix", nullptr},
                                 {"fuse_unk", false},
                                 {"byte_fallback", false},
                                 {"vocab", vocab},
                                 {"merges", {"a b", "ab c", newline + " " + newline}}}}};
  auto tokenizer = text::Tokenizer::FromJson(file.dump());
  CHECK(tokenizer.ok()) << tokenizer.status();
  return std::move(tokenizer).value();
}

std::vector<TokenId> Bytes(const std::string& text) {
  std::vector<TokenId> tokens;
  for (unsigned char byte : text) tokens.push_back(byte);
  return tokens;
}

}  // namespace olmoe::engine
