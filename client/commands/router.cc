#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/notation/router_file.h"
#include "client/render/routing.h"
#include "client/render/table.h"
#include "olmoe/v1/admin.pb.h"
#include "olmoe/v1/inference.pb.h"
#include "server/routing/rule_words.h"

namespace olmoe::client::commands {
namespace {

std::string RenderRouters(const std::vector<v1::RouterInfo>& routers, const render::Style& style) {
  render::Table table({{"ROUTER"}, {"DIGEST"}, {"LAYERS"}, {"IN USE"}});
  for (const v1::RouterInfo& info : routers) {
    table.AddRow({info.router_id(), info.digest().substr(0, render::kShortDigest),
                  routing::DescribeIds({info.layers().begin(), info.layers().end()}),
                  info.in_use() ? "yes" : "no"});
  }
  return table.Render(style);
}

struct RouterOptions {
  std::string name, path;
};

// `type`: ROUTER for one that is there.
void NameArgument(CLI::App& command, RouterOptions& options, const char* type) {
  command.add_option("name", options.name, "Name of the router")
      ->required()
      ->check(IsUtf8())
      ->check([](const std::string& name) { return name.empty() ? "the name is empty" : ""; }, "",
              "")
      ->type_name(type);
}

void FileArgument(CLI::App& command, RouterOptions& options, const char* help) {
  command.add_option("file", options.path, help)->required()->type_name("FILE");
}

// What the file has to have; of the model, which the other port knows.
absl::StatusOr<notation::RouterFileShape> Shape(Session& session) {
  const auto model = session.rpc().GetModelInfo({});
  if (!model.ok()) return model.status();
  return notation::RouterFileShape{.num_layers = model->num_layers(),
                                   .num_experts = model->num_experts(),
                                   .hidden_size = model->hidden_size()};
}

// ---- put

void PutFlags(CLI::App& command, RouterOptions& options) {
  NameArgument(command, options, "NAME");
  FileArgument(command, options,
               "A safetensors file, or the folder of a checkpoint: its tensors "
               "model.layers.N.mlp.gate.weight, of some layers or of all, are the router");
}

ExitCode Put(const RouterOptions& options, Session& session) {
  const auto shape = Shape(session);
  if (!shape.ok()) return session.Fail(shape.status());
  const auto layers = notation::ReadRouterFile(options.path, *shape);
  if (!layers.ok()) return session.UsageError(layers.status());
  const auto text = [](const v1::PutRouterResponse& response, const render::Style& style) {
    return RenderRouters({response.router()}, style);
  };
  return session.PrintReply(session.rpc().PutRouter(options.name, *layers), text);
}

// ---- get, export

ExitCode Write(const RouterOptions& options, Session& session) {
  const auto shape = Shape(session);
  if (!shape.ok()) return session.Fail(shape.status());
  v1::GetRouterRequest request;
  request.set_router_id(options.name);
  const auto layers = session.rpc().GetRouter(request);
  if (!layers.ok()) return session.Fail(layers.status());
  const absl::Status status = notation::WriteRouterFile(options.path, *layers, *shape);
  return status.ok() ? ExitCode::kOk : session.UsageError(status);
}

void GetFlags(CLI::App& command, RouterOptions& options) {
  NameArgument(command, options, "ROUTER");
  FileArgument(command, options, "Write it into this safetensors file");
}

void ExportFlags(CLI::App& command, RouterOptions& options) {
  FileArgument(command, options, "Write it into this safetensors file");
}

// ---- list, delete

ExitCode List(Session& session) {
  const auto text = [](const v1::ListRoutersResponse& response, const render::Style& style) {
    return RenderRouters({response.routers().begin(), response.routers().end()}, style);
  };
  return session.PrintReply(session.rpc().ListRouters({}), text);
}

void DeleteFlags(CLI::App& command, RouterOptions& options) {
  NameArgument(command, options, "ROUTER");
}

ExitCode Delete(const RouterOptions& options, Session& session) {
  v1::DeleteRouterRequest request;
  request.set_router_id(options.name);
  const auto text = [&options](const v1::DeleteRouterResponse&, const render::Style&) {
    return absl::StrCat("deleted: router ", options.name, "\n");
  };
  return session.PrintReply(session.rpc().DeleteRouter(request), text);
}

}  // namespace

void AddRouter(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& command = *app.add_subcommand(
      "router", "Manage router weights that policies name in place of the model's own");
  command.require_subcommand(1);
  AddCommand<RouterOptions>(command, chosen, "export",
                            "Download the model's own router, to be changed and put back",
                            ExportFlags, Write);
  AddCommand<RouterOptions>(command, chosen, "put", "Upload a router from a file", PutFlags, Put);
  AddCommand<RouterOptions>(command, chosen, "get", "Download a router that was put", GetFlags,
                            Write);
  AddCommand(command, chosen, "list", "List the routers of the server", List);
  AddCommand<RouterOptions>(command, chosen, "delete", "Delete a router that no plan in use names",
                            DeleteFlags, Delete);
}

}  // namespace olmoe::client::commands
