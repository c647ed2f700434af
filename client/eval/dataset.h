#ifndef OLMOE_CLIENT_EVAL_DATASET_H_
#define OLMOE_CLIENT_EVAL_DATASET_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/eval/corpus.h"
#include "client/eval/result.h"
#include "client/transport/rpc_client.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::eval {

class Analyzer;

// How texts become requests; END is the token that stands before a text without context
// (PrefixToken).
//
// Without a window each document is a unit: the server scores END, then its tokens in
// windows of max_context tokens; every token of the document is predicted once, the
// first from END alone, those of the first window from all before them, and those
// of a later window from what the window holds before them. END after the document is
// not predicted.
//
// With a window W and a stride S the documents of a file are one stream: END, then each
// document's tokens followed by END. Window i runs tokens iS .. iS+W-1 of the stream and
// predicts the tokens iS+1 .. iS+W that no earlier window predicted. So with S = W the
// first prediction of a window sees one token and the last W; with S < W all but the
// first window's predictions see at least W - S + 1 tokens. Every token of the stream
// but the first is predicted once, END between documents included. A window is a unit.
struct Cutting {
  size_t window = 0;  // 0 = documents
  size_t stride = 0;  // 1..window
  size_t limit = 0;   // units of a file; 0 = all
};

// One request.
struct EvalUnit {
  v1::ScoreRequest request;  // items only
  size_t windows = 1;        // sequences that the server makes of it
  std::optional<Choice> choice;
  std::string digest;        // of what is asked, in hexadecimal
};

struct Dataset {
  std::string name;
  bool is_choice = false;
  std::vector<EvalUnit> units;  // not empty
};

// One routing to evaluate.
struct Subject {
  std::string name = {};
  std::string routing = {};           // "top 4", for tables
  v1::RoutingSelector selector = {};  // unset: what the server routes with
  std::string digest = {};            // of the policy, as the server's stamp says
  std::shared_ptr<Analyzer> analyzer = {};  // where the policy analyzes a rule
};

// One window over a stream of tokens: it runs [begin, end - 1) and predicts [first, end).
struct TokenWindow {
  size_t begin = 0, first = 0, end = 0;
  bool operator==(const TokenWindow&) const = default;
};

// The windows of a stream of `tokens` tokens, at most `limit` (0 = all); none for fewer
// than two tokens.
std::vector<TokenWindow> CutWindows(size_t tokens, const Cutting& cutting);

// Tokenizes by the server. Errors are those of the calls; INVALID_ARGUMENT where nothing
// is left to predict.
absl::StatusOr<Dataset> MakeDataset(Corpus corpus, const Cutting& cutting,
                                    const v1::GetModelInfoResponse& model,
                                    transport::RpcClient& rpc);

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_DATASET_H_
