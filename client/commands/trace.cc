#include <ostream>
#include <string>

#include "client/commands/command.h"
#include "client/trace/trace_file.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::commands {
namespace {

struct ConvertOptions {
  std::string in, out;
};

void ConvertFlags(CLI::App& command, ConvertOptions& options) {
  command
      .add_option("in", options.in,
                  "A file of --trace-out, a RoutingTrace (.json), or vLLM's routed_experts (.npy)")
      ->required()
      ->check(CLI::ExistingFile)
      ->type_name("IN");
  command.add_option("out", options.out, "The file to write: NAME.json or NAME.npy")
      ->required()
      ->type_name("OUT");
}

ExitCode Convert(const ConvertOptions& options, Session& session) {
  const auto trace = trace::ReadTrace(options.in);
  if (!trace.ok()) return session.UsageError(trace.status());
  const absl::Status status = trace::WriteTrace(*trace, options.out);
  if (!status.ok()) return session.UsageError(status);
  session.out() << options.out << ": " << trace->num_positions() << " positions, "
                << trace->num_layers() << " layers, " << trace->experts().size() << " experts"
                << (trace->weights().empty() ? "" : ", with weights") << '\n';
  return ExitCode::kOk;
}

}  // namespace

void AddTrace(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& command = *app.add_subcommand("trace", "Work with recorded routing, without a server");
  command.require_subcommand(1);
  AddCommand<ConvertOptions>(command, chosen, "convert",
                             "Convert a recording to JSON or to the array of vLLM, or back",
                             ConvertFlags, Convert);
}

}  // namespace olmoe::client::commands
