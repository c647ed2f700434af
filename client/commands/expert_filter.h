// What `experts` and `experts diff` ask for.
#ifndef OLMOE_CLIENT_COMMANDS_EXPERT_FILTER_H_
#define OLMOE_CLIENT_COMMANDS_EXPERT_FILTER_H_

#include <string>

#include "CLI/App.hpp"
#include "absl/status/statusor.h"
#include "client/commands/command.h"
#include "client/commands/session.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {

// Which statistics are asked for, as the flags say it; empty = not limited.
struct ExpertFilter {
  std::string layers, kind, phase, since;
  bool all = false;  // also of earlier plans
};

void AddFilterFlags(CLI::App& command, ExpertFilter& filter);

// The request for them, but for the phase. INVALID_ARGUMENT names the flag that is wrong.
absl::StatusOr<v1::GetExpertStatsRequest> StatsRequest(const ExpertFilter& filter);

// Leaves those of a phase ("prefill", "decode", "score"; "" = all), which a request cannot name.
void KeepPhase(const std::string& phase, v1::GetExpertStatsResponse* response);

// What `experts --json` printed into a file (- = stdin), as the server would answer `request` from
// it. INVALID_ARGUMENT names the file.
absl::StatusOr<v1::GetExpertStatsResponse> ReadStats(const std::string& path,
                                                     const v1::GetExpertStatsRequest& request,
                                                     Session& session);

// "[the current plan's policies (--all: earlier ones too), TIME to TIME]", for stderr.
std::string Extent(const v1::GetExpertStatsResponse& response, bool all);

// Adds `diff` below `experts`.
void AddExpertsDiff(CLI::App& experts, ChosenCommand& chosen);

}  // namespace olmoe::client::commands

#endif  // OLMOE_CLIENT_COMMANDS_EXPERT_FILTER_H_
