#include "client/commands/plan_file.h"

#include "absl/strings/str_cat.h"
#include "client/render/format.h"
#include "google/protobuf/util/json_util.h"

namespace olmoe::client::commands {

absl::StatusOr<v1::RoutingPlan> ReadPlan(const std::string& path, Session& session) {
  const auto json = session.FileOrInput(path);
  if (!json.ok()) return json.status();
  v1::RoutingPlan plan;
  const auto status = google::protobuf::util::JsonStringToMessage(*json, &plan);
  if (status.ok()) return plan;
  return absl::InvalidArgumentError(
      absl::StrCat(path, " is not a RoutingPlan in JSON: ",
                   render::OneLine(std::string(status.message().data(), status.message().size()))));
}

}  // namespace olmoe::client::commands
