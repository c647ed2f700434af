// Which tokens are scored given which: lm-evaluation-harness's conventions, without
// torch and without gRPC.
//
// One pair (context, continuation) is one window: both joined, cut on the left to
// max_context + 1 tokens (the last token is only a target). Rolling text longer than
// the context becomes several windows, and every token is scored exactly once. With
// max_context = 4, prefix P and text a b c d e f (scored tokens in brackets):
//
//   window 1: P [a b c d]
//   window 2: b c d [e f]      the last window reaches back so that it is full
//
// This is `get_rolling_token_windows(context_len=1)` and then `make_disjoint_window`.
#ifndef OLMOE_SERVER_EXPERIMENT_SCORE_WINDOWS_H_
#define OLMOE_SERVER_EXPERIMENT_SCORE_WINDOWS_H_

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "server/engine/request.h"
#include "server/util/token_id.h"

namespace olmoe::experiment {

struct PairWindow {
  engine::ScoreWindow window;
  int context_tokens_dropped = 0;
};

// `context` and `continuation` are not empty; continuation.size() <= max_context.
PairWindow MakePairWindow(std::span<const TokenId> context, std::span<const TokenId> continuation,
                          int max_context);

// `tokens` is not empty.
std::vector<engine::ScoreWindow> MakeRollingWindows(TokenId prefix, std::span<const TokenId> tokens,
                                                    int max_context);

// Bytes of the white space that `utf8` ends with, as Python's str.rstrip() sees it.
size_t TrailingWhitespaceBytes(std::string_view utf8);

}  // namespace olmoe::experiment

#endif  // OLMOE_SERVER_EXPERIMENT_SCORE_WINDOWS_H_
