#include <string>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/render/table.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::commands {
namespace {

std::string RenderModel(const v1::GetModelInfoResponse& info, const render::Style& style) {
  render::Table table({{""}, {""}});
  const auto row = [&table](const char* name, const auto& value) {
    table.AddRow({name, absl::StrCat(value)});
  };
  row("model", info.model_id());
  row("weights", info.weights_digest());
  row("layers", info.num_layers());
  row("experts", absl::StrCat(info.num_experts(), ", top-k ", info.default_top_k(),
                              info.norm_topk_prob() ? ", weights sum to one" : ""));
  row("hidden size", info.hidden_size());
  row("vocabulary", info.vocab_size());
  row("context", absl::StrCat(info.max_context(), " tokens"));
  row("eos, pad", absl::StrCat(info.eos_token_id(), ", ", info.pad_token_id()));
  row("tokenizer", info.has_tokenizer() ? "yes" : "no: token ids only");
  row("device", absl::StrCat(info.device(), ", ", info.dtype(), ", ", info.kernels()));
  row("batch", absl::StrCat(info.max_batch_sequences(), " sequences"));
  row("server", info.server_version());
  return table.Render(style);
}

ExitCode Run(Session& session) {
  return session.PrintReply(session.rpc().GetModelInfo({}), RenderModel);
}

}  // namespace

void AddModel(CLI::App& app, ChosenCommand& chosen) {
  AddCommand(app, chosen, "model", "Show the model that is served", Run);
}

}  // namespace olmoe::client::commands
