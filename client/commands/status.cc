#include <string>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/render/format.h"
#include "client/render/table.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

// "serving since 2025-01-31 12:00:00 UTC"
std::string State(const v1::GetServerStatusResponse& status, const render::Style& style) {
  const std::string started = render::FormatTime(status.start_time());
  if (!status.draining()) return absl::StrCat(style.Green("serving"), " since ", started);
  return absl::StrCat(style.Yellow("draining"),
                      status.has_drain_time()
                          ? absl::StrCat(" since ", render::FormatTime(status.drain_time()))
                          : "",
                      ", started ", started);
}

std::string RenderStatus(const v1::GetServerStatusResponse& status, const render::Style& style) {
  std::string text = absl::StrCat(
      State(status, style), ": ", status.running_requests(), " running, ", status.queued_requests(),
      " queued, KV cache ", render::FormatBytes(status.kv_cache_used_bytes()), " of ",
      render::FormatBytes(status.kv_cache_capacity_bytes()), ", prompts kept ",
      render::FormatBytes(status.prefix_cache_bytes()), ", ", status.cached_prompt_tokens(),
      " tokens reused\n");
  using enum render::Table::Align;
  render::Table table({{"REQUEST"},
                       {"METHOD"},
                       {"GENERATION", kRight},
                       {"ARM"},
                       {"PROMPT", kRight},
                       {"TOKENS", kRight},
                       {"AGE", kRight}});
  for (const v1::RequestStatus& request : status.requests()) {
    table.AddRow({request.request_id(), request.method(),
                  absl::StrCat(request.routing().generation()), request.routing().arm_id(),
                  absl::StrCat(request.prompt_tokens()), absl::StrCat(request.completion_tokens()),
                  render::FormatDuration(request.age())});
  }
  return table.empty() ? text : text + table.Render(style);
}

ExitCode Run(Session& session) {
  return session.PrintReply(session.rpc().GetServerStatus({}), RenderStatus);
}

}  // namespace

void AddStatus(CLI::App& app, ChosenCommand& chosen) {
  AddCommand(app, chosen, "status", "Show what the server is doing", Run);
}

}  // namespace olmoe::client::commands
