#include <string>
#include <vector>

#include "client/commands/command.h"
#include "client/notation/number_list.h"
#include "client/render/format.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::commands {
namespace {

struct DetokenizeOptions {
  std::vector<std::string> ids;
  bool skip_special = false;
};

void Flags(CLI::App& command, DetokenizeOptions& options) {
  command.add_option("ids", options.ids, "Token ids: 1,2,3 or 1 2 3")->required()->type_name("IDS");
  command.add_flag("--skip-special", options.skip_special, "Leave out special tokens");
}

ExitCode Run(const DetokenizeOptions& options, Session& session) {
  v1::DetokenizeRequest request;
  request.set_skip_special_tokens(options.skip_special);
  for (const std::string& part : options.ids) {
    const auto ids = notation::ParseTokenIds(part);
    if (!ids.ok()) return session.UsageError(ids.status());
    request.mutable_ids()->Add(ids->begin(), ids->end());
  }
  const auto text = [&session](const v1::DetokenizeResponse& response, const render::Style&) {
    return (session.out_is_terminal() ? render::ForTerminal(response.text()) : response.text()) +
           "\n";
  };
  return session.PrintReply(session.rpc().Detokenize(request), text);
}

}  // namespace

void AddDetokenize(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<DetokenizeOptions>(app, chosen, "detokenize", "Turn tokens into text", Flags, Run);
}

}  // namespace olmoe::client::commands
