#include <cmath>
#include <cstdint>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/commands/shared_flags.h"
#include "client/commands/token_report.h"
#include "client/notation/number_list.h"
#include "client/render/format.h"
#include "client/render/routing.h"
#include "client/trace/recorder.h"
#include "nlohmann/json.hpp"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::commands {
namespace {

constexpr char kHelp[] =
    "Scores the text without a context, as `score --rolling-text` does, and tells of\n"
    "each token\n"
    "  PROB, LOGPROB  its probability after the tokens before it, and the natural\n"
    "                 logarithm\n"
    "  RANK           1 for the likeliest token\n"
    "  K              experts that ran for it: mean over layers, or in --layer\n"
    "  ENTROPY        of the router's probabilities in nats: mean over layers, or in\n"
    "                 --layer\n"
    "  BUSIEST        experts with the largest weights, as LAYER:EXPERT\n"
    "  EXPERTS        with --layer: the experts that ran, in the order of the rule\n"
    "  K BY LAYER     with --per-layer\n"
    "No router saw the last token: it is predicted, and never an input. On a terminal\n"
    "with colours the text itself is shown, coloured by --color-by.\n";

struct TokensOptions {
  std::string text = "-", file;
  bool ids = false;
  TokensView view;
  std::string format;
  RequestFlags request;
};

void Flags(CLI::App& command, TokensOptions& options) {
  command.footer(kHelp);
  auto* text = command.add_option("text", options.text, "The text; - = stdin")
                   ->check(IsUtf8())
                   ->type_name("TEXT");
  command.add_option("--file", options.file, "Read the text from this file")
      ->excludes(text)
      ->type_name("FILE");
  command.add_flag("--ids", options.ids, "Read the text as token ids: 1,2,3");
  AddNumber(command, "--layer", options.view.layer, "Show this layer in place of all", {.least = 0})
      ->type_name("LAYER");
  command.add_flag("--per-layer", options.view.per_layer,
                   "Show the experts a token of every layer");
  AddNumber(command, "--top", options.view.top, "List this many of the busiest experts",
            {.least = 0})
      ->capture_default_str();
  command.add_option("--color-by", options.view.color_by, "What the colours of the text tell")
      ->check(CLI::IsMember({"probability", "k", "entropy"}))
      ->capture_default_str();
  command
      .add_option("--format", options.format,
                  "Default: text on a terminal with colours, else table, as text is without them")
      ->check(CLI::IsMember({"text", "table", "json"}));
  AddRequestFlags(command, options.request);
}

// `pieces`: the bytes that each token stands for; none with --ids.
struct TokenizedText {
  std::vector<uint32_t> ids;
  std::vector<std::string> pieces;
};

absl::StatusOr<std::string> ReadText(const TokensOptions& options, Session& session) {
  return options.file.empty() ? session.TextOrInput(options.text)
                              : session.FileOrInput(options.file);
}

absl::StatusOr<TokenizedText> Tokenize(const std::string& text, Session& session) {
  v1::TokenizeRequest request;
  request.set_text(text);
  auto response = session.rpc().Tokenize(request);
  if (!response.ok()) return response.status();
  if (response->pieces_size() != response->ids_size()) {
    return absl::InternalError("the server's answer has not one piece a token");
  }
  return TokenizedText{{response->ids().begin(), response->ids().end()},
                       {response->pieces().begin(), response->pieces().end()}};
}

// But for the tokens.
absl::StatusOr<v1::ScoreRequest> BuildRequest(const TokensOptions& options) {
  v1::ScoreRequest request;
  request.add_items()->set_rolling(true);
  request.set_per_token(true);
  trace::AskForTrace(request.mutable_trace());
  auto status = SetRequestFlags(options.request, &request);
  if (!status.ok()) return status;
  return request;
}

// The text may be shown in colours, where there are some.
void Print(const TokenReport& report, const TokensOptions& options, Session& session) {
  if (session.options().json || options.format == "json") {
    session.out() << TokensJson(report, options.view).dump(session.out_is_terminal() ? 1 : -1)
                  << '\n';
    return;
  }
  const render::Style style = session.out_style();
  const bool in_colors = style.color() && options.format != "table";
  session.out() << (in_colors ? RenderShadedTokens(report, options.view, style)
                              : RenderTokens(report, options.view, style))
                << std::flush;
  const size_t tokens = report.table.num_tokens();
  const double loss = -report.logprob_sum / static_cast<double>(tokens);
  session.err() << session.err_style().Dim(absl::StrCat(
                       "[", render::DescribeStamp(report.stamp), " | ", tokens,
                       " tokens, perplexity ", render::FormatFixed(std::exp(loss), 3), "]"))
                << '\n';
}

ExitCode Run(const TokensOptions& options, Session& session) {
  const auto input = ReadText(options, session);
  if (!input.ok()) return session.UsageError(input.status());
  auto request = BuildRequest(options);
  if (!request.ok()) return session.UsageError(request.status());
  absl::StatusOr<TokenizedText> text = TokenizedText{};
  if (options.ids) {
    auto ids = notation::ParseTokenIds(*input);
    if (!ids.ok()) return session.UsageError(ids.status());
    text->ids = *std::move(ids);
  } else if (text = Tokenize(*input, session); !text.ok()) {
    return session.Fail(text.status());
  }
  if (text->ids.empty()) return session.UsageError(absl::InvalidArgumentError("the text is empty"));
  request->mutable_items(0)->mutable_continuation_tokens()->mutable_ids()->Add(text->ids.begin(),
                                                                               text->ids.end());
  const auto model = session.rpc().GetModelInfo({});
  if (!model.ok()) return session.Fail(model.status());
  if (options.view.layer && *options.view.layer >= static_cast<int>(model->num_layers())) {
    return session.UsageError(
        absl::InvalidArgumentError(absl::StrCat("--layer ", *options.view.layer, ": the model has ",
                                                model->num_layers(), " layers, from 0 on")));
  }
  const auto response = session.rpc().Score(*request);
  if (!response.ok()) {
    return session.Fail(response.status(), InlinePolicyHint(response.status(), request->routing()));
  }
  auto table = trace::TokenTable::Create(*model, *response);
  if (!table.ok()) return session.Fail(table.status());
  if (table->num_tokens() != text->ids.size()) {
    return session.Fail(absl::InternalError("the server's answer has not the text's tokens"));
  }
  Print({*std::move(table), std::move(text->pieces), response->routing(),
         response->results(0).logprob_sum()},
        options, session);
  return ExitCode::kOk;
}

}  // namespace

void AddTokens(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<TokensOptions>(app, chosen, "tokens",
                            "Show what the routers did with each token of a text", Flags, Run);
}

}  // namespace olmoe::client::commands
