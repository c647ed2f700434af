#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/commands/command.h"
#include "client/render/format.h"
#include "client/render/table.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::commands {
namespace {

struct TokenizeOptions {
  std::string text = "-";
  bool special = false;
  bool ids = false;
};

void Flags(CLI::App& command, TokenizeOptions& options) {
  command.add_option("text", options.text, "The text; - = stdin")
      ->check(IsUtf8())
      ->type_name("TEXT");
  command.add_flag("--special", options.special, "Add the special tokens of the tokenizer");
  command.add_flag("--ids", options.ids, "Print only the ids, as --tokens takes them");
}

std::string RenderTokens(const v1::TokenizeResponse& response, const render::Style& style) {
  using enum render::Table::Align;
  render::Table table({{"TOKEN", kRight}, {"PIECE"}, {"START", kRight}, {"END", kRight}});
  for (int i = 0; i < response.ids_size(); ++i) {
    const bool has_piece = i < response.pieces_size();
    const bool has_span = i < response.start_offsets_size() && i < response.end_offsets_size();
    table.AddRow({absl::StrCat(response.ids(i)), has_piece ? render::Quote(response.pieces(i)) : "",
                  has_span ? absl::StrCat(response.start_offsets(i)) : "",
                  has_span ? absl::StrCat(response.end_offsets(i)) : ""});
  }
  return table.Render(style);
}

ExitCode Run(const TokenizeOptions& options, Session& session) {
  auto text = session.TextOrInput(options.text);
  if (!text.ok()) return session.UsageError(text.status());
  v1::TokenizeRequest request;
  request.set_text(*std::move(text));
  request.set_add_special_tokens(options.special);
  const auto as_text = [&options](const v1::TokenizeResponse& response,
                                  const render::Style& style) {
    return options.ids ? absl::StrJoin(response.ids(), ",") + "\n" : RenderTokens(response, style);
  };
  return session.PrintReply(session.rpc().Tokenize(request), as_text);
}

}  // namespace

void AddTokenize(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<TokenizeOptions>(app, chosen, "tokenize", "Turn text into tokens", Flags, Run);
}

}  // namespace olmoe::client::commands
