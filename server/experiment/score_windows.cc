#include "server/experiment/score_windows.h"

#include <algorithm>
#include <cstdint>

#include "glog/logging.h"

namespace olmoe::experiment {
namespace {

// str.isspace(): White_Space and the information separators 1C..1F.
bool IsPythonSpace(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

// The last character of well-formed UTF-8 and how many bytes it has. White space
// has at most 3 bytes, so longer characters need not be told apart.
struct LastCharacter {
  uint32_t code_point;
  size_t bytes;
};
LastCharacter Last(std::string_view utf8) {
  size_t start = utf8.size() - 1;
  while (start > 0 && (static_cast<unsigned char>(utf8[start]) & 0xC0) == 0x80) --start;
  const size_t bytes = utf8.size() - start;
  const unsigned char lead = static_cast<unsigned char>(utf8[start]);
  uint32_t code_point = bytes == 1 ? lead : bytes == 2 ? lead & 0x1F : lead & 0x0F;
  for (size_t i = start + 1; i < utf8.size(); ++i) {
    code_point = code_point << 6 | (static_cast<unsigned char>(utf8[i]) & 0x3F);
  }
  return {bytes <= 3 ? code_point : 0, bytes};
}

}  // namespace

PairWindow MakePairWindow(std::span<const TokenId> context, std::span<const TokenId> continuation,
                          int max_context) {
  CHECK(!context.empty() && !continuation.empty());
  CHECK_LE(continuation.size(), static_cast<size_t>(max_context));
  const size_t room = static_cast<size_t>(max_context) + 1 - continuation.size();
  const size_t dropped = context.size() - std::min(context.size(), room);
  PairWindow out;
  out.context_tokens_dropped = static_cast<int>(dropped);
  out.window.tokens.assign(context.begin() + static_cast<ptrdiff_t>(dropped), context.end());
  out.window.first_scored = static_cast<int>(out.window.tokens.size());
  out.window.tokens.insert(out.window.tokens.end(), continuation.begin(), continuation.end());
  return out;
}

std::vector<engine::ScoreWindow> MakeRollingWindows(TokenId prefix, std::span<const TokenId> tokens,
                                                    int max_context) {
  CHECK(!tokens.empty());
  CHECK_GT(max_context, 0);
  const size_t length = static_cast<size_t>(max_context);
  size_t end = std::min(length, tokens.size());
  std::vector<engine::ScoreWindow> windows(1);
  windows[0].tokens = {prefix};
  windows[0].tokens.insert(windows[0].tokens.end(), tokens.begin(),
                           tokens.begin() + static_cast<ptrdiff_t>(end));
  windows[0].first_scored = 1;
  while (end < tokens.size()) {
    const size_t scored = std::min(length, tokens.size() - end);
    end += scored;
    const std::span<const TokenId> window = tokens.subspan(end - length - 1, length + 1);
    // All of it is continuation: the prefix was the prompt.
    windows.push_back({.tokens = {window.begin(), window.end()},
                       .first_scored = static_cast<int>(length + 1 - scored),
                       .prompt_tokens = 0});
  }
  return windows;
}

size_t TrailingWhitespaceBytes(std::string_view utf8) {
  std::string_view rest = utf8;
  while (!rest.empty()) {
    const LastCharacter last = Last(rest);
    if (!IsPythonSpace(last.code_point)) break;
    rest.remove_suffix(last.bytes);
  }
  return utf8.size() - rest.size();
}

}  // namespace olmoe::experiment
