// What a shell asks while a command line is typed. Nothing is told when there is no answer.
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/commands/command.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

constexpr double kPatienceSeconds = 2;

struct NamesOptions {
  std::string kind, line;
};

void Flags(CLI::App& command, NamesOptions& options) {
  command.add_option("kind", options.kind, "What to name")
      ->required()
      ->check(CLI::IsMember({"arms", "calibrations", "generations", "routers"}));
  command.add_option("line", options.line, "The command line so far");
}

// The connection that the flags on `line` ask for.
void ReadConnection(const std::string& line, GlobalOptions* options) {
  const std::map<std::string, std::string*> targets = {
      {"--admin", &options->admin},
      {"--ca", &options->credentials.ca},
      {"--cert", &options->credentials.cert},
      {"--key", &options->credentials.key},
      {"--token-file", &options->credentials.token_file}};
  const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
  for (size_t i = 0; i < words.size(); ++i) {
    const std::vector<std::string> parts = absl::StrSplit(words[i], absl::MaxSplits('=', 1));
    if (parts[0] == "--tls") options->credentials.tls = true;
    const auto target = targets.find(parts[0]);
    if (target == targets.end()) continue;
    if (parts.size() == 2) *target->second = parts[1];
    if (parts.size() == 1 && i + 1 < words.size()) *target->second = words[i + 1];
  }
}

std::vector<std::string> Arms(Session& session) {
  std::vector<std::string> names;
  const auto routing = session.rpc().GetRouting({});
  if (!routing.ok()) return names;
  for (const v1::Arm& arm : routing->current().plan().arms()) names.push_back(arm.arm_id());
  return names;
}

std::vector<std::string> Calibrations(Session& session) {
  std::vector<std::string> names;
  const auto list = session.rpc().ListCalibrations({});
  if (!list.ok()) return names;
  for (const auto& calibration : list->calibrations()) {
    names.push_back(calibration.calibration_id());
  }
  return names;
}

std::vector<std::string> Routers(Session& session) {
  std::vector<std::string> names;
  const auto list = session.rpc().ListRouters({});
  if (!list.ok()) return names;
  for (const auto& router : list->routers()) names.push_back(router.router_id());
  return names;
}

std::vector<std::string> Generations(Session& session) {
  std::vector<std::string> names;
  const auto history = session.rpc().ListRoutingHistory({});
  if (!history.ok()) return names;
  for (const auto& record : history->records()) names.push_back(absl::StrCat(record.generation()));
  return names;
}

ExitCode Run(const NamesOptions& options, Session& session) {
  ReadConnection(options.line, &session.options());
  session.options().timeout_seconds = kPatienceSeconds;
  if (!session.ReadCredentials().ok()) return ExitCode::kOk;
  const auto names = options.kind == "arms"           ? Arms(session)
                     : options.kind == "calibrations" ? Calibrations(session)
                     : options.kind == "routers"      ? Routers(session)
                                                      : Generations(session);
  for (const std::string& name : names) session.out() << name << '\n';
  return ExitCode::kOk;
}

}  // namespace

void AddCompleteNames(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<NamesOptions>(app, chosen, "complete-names", "Name what completes a command line",
                           Flags, Run)
      ->group("");
}

}  // namespace olmoe::client::commands
