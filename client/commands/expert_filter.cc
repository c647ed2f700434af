#include "client/commands/expert_filter.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/notation/duration.h"
#include "client/notation/number_list.h"
#include "client/render/format.h"
#include "google/protobuf/util/json_util.h"

namespace olmoe::client::commands {

void AddFilterFlags(CLI::App& command, ExpertFilter& filter) {
  command.add_option("--layers", filter.layers, "Show only these layers: 0-3,7")
      ->type_name("LAYERS");
  command
      .add_option("--kind", filter.kind,
                  "applied: experts that ran; analyzed: those that an analyzed rule would have run")
      ->check(CLI::IsMember({"applied", "analyzed"}));
  command.add_option("--phase", filter.phase, "Show only this phase; default: the sum of all")
      ->check(CLI::IsMember({"prefill", "decode", "score"}));
  command
      .add_option(
          "--since", filter.since,
          "Count only the last while, such as 5m (1s to 24h), or what came after the cursor "
          "that an earlier --json printed")
      ->check(IsUtf8())
      ->type_name("TIME|CURSOR");
  command.add_flag("--all", filter.all,
                   "Show policies of earlier plans too; default: those of the current plan");
}

absl::StatusOr<v1::GetExpertStatsRequest> StatsRequest(const ExpertFilter& filter) {
  v1::GetExpertStatsRequest request;
  if (!filter.layers.empty()) {
    const auto layers = notation::ParseLayers(filter.layers);
    if (!layers.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--layers: ", layers.status().message()));
    }
    request.mutable_layers()->Add(layers->begin(), layers->end());
  }
  if (filter.kind == "applied") request.add_kinds(v1::DECISION_KIND_APPLIED);
  if (filter.kind == "analyzed") request.add_kinds(v1::DECISION_KIND_ANALYZED);
  request.set_current_plan(!filter.all);
  if (filter.since.empty()) return request;
  if (auto since = notation::ParseDuration(filter.since); since.ok()) {
    *request.mutable_since() = *std::move(since);
  } else if (absl::StrContains(filter.since, '-')) {
    request.set_since_cursor(filter.since);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("--since: ", since.status().message(), ", and no cursor"));
  }
  return request;
}

void KeepPhase(const std::string& phase, v1::GetExpertStatsResponse* response) {
  if (phase.empty()) return;
  const v1::Phase wanted = phase == "prefill"  ? v1::PHASE_PREFILL
                           : phase == "decode" ? v1::PHASE_DECODE
                                               : v1::PHASE_SCORE;
  auto& arms = *response->mutable_arms();
  for (int i = arms.size() - 1; i >= 0; --i) {
    if (arms[i].phase() != wanted) arms.DeleteSubrange(i, 1);
  }
}

absl::StatusOr<v1::GetExpertStatsResponse> ReadStats(const std::string& path,
                                                     const v1::GetExpertStatsRequest& request,
                                                     Session& session) {
  const auto parse = [](const std::string& json) -> absl::StatusOr<v1::GetExpertStatsResponse> {
    v1::GetExpertStatsResponse response;
    google::protobuf::util::JsonParseOptions options;
    options.ignore_unknown_fields = true;  // of a newer olmoectl, and of `experts diff`
    const auto status = google::protobuf::util::JsonStringToMessage(json, &response, options);
    if (status.ok()) return response;
    return absl::InvalidArgumentError(absl::StrCat(
        "is not what `experts --json` prints: ",
        render::OneLine(std::string(status.message().data(), status.message().size()))));
  };
  auto reading = session.ParseFile(path, parse);
  if (!reading.ok()) return reading;
  const auto unwanted = [](const auto& wanted, auto value) {
    return !wanted.empty() && std::find(wanted.begin(), wanted.end(), value) == wanted.end();
  };
  auto& arms = *reading->mutable_arms();
  for (int i = arms.size() - 1; i >= 0; --i) {
    auto& layers = *arms[i].mutable_layers();
    layers.erase(std::remove_if(layers.begin(), layers.end(),
                                [&](const v1::LayerExpertStats& layer) {
                                  return unwanted(request.layers(), layer.layer());
                                }),
                 layers.end());
    if (unwanted(request.kinds(), arms[i].kind())) arms.DeleteSubrange(i, 1);
  }
  return reading;
}

std::string Extent(const v1::GetExpertStatsResponse& response, bool all) {
  return absl::StrCat("[",
                      all ? "all plans" : "the current plan's policies (--all: earlier ones too)",
                      ", ", render::FormatTime(response.start_time()), " to ",
                      render::FormatTime(response.end_time()), "]");
}

}  // namespace olmoe::client::commands
