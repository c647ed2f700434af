// What `tokens` shows: a table, the text in colours, or JSON.
#ifndef OLMOE_CLIENT_COMMANDS_TOKEN_REPORT_H_
#define OLMOE_CLIENT_COMMANDS_TOKEN_REPORT_H_

#include <optional>
#include <string>
#include <vector>

#include "client/render/style.h"
#include "client/trace/token_table.h"
#include "nlohmann/json_fwd.hpp"
#include "olmoe/v1/routing.pb.h"

namespace olmoe::client::commands {

struct TokenReport {
  trace::TokenTable table;
  std::vector<std::string>
      pieces;  // bytes of each token, which may end inside a character; or none
  v1::RoutingStamp stamp;
  double logprob_sum = 0;  // nats
};

// What is wanted of it.
struct TokensView {
  std::optional<int> layer;  // this one alone, in place of means over all
  bool per_layer = false;    // a column with k of every layer
  int top = 3;               // experts listed, without `layer`
  std::string color_by = "probability";  // or "k", "entropy"
};

// A row a token.
std::string RenderTokens(const TokenReport& report, const TokensView& view,
                         const render::Style& style);
// The text, and a legend below it.
std::string RenderShadedTokens(const TokenReport& report, const TokensView& view,
                               const render::Style& style);
// docs/reference/json.md has the fields.
nlohmann::ordered_json TokensJson(const TokenReport& report, const TokensView& view);

}  // namespace olmoe::client::commands

#endif  // OLMOE_CLIENT_COMMANDS_TOKEN_REPORT_H_
