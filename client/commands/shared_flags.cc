#include "client/commands/shared_flags.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/notation/duration.h"
#include "client/render/format.h"
#include "glog/logging.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/time_util.h"

namespace olmoe::client::commands {
namespace {

constexpr double kMaxSeconds = 86400;

// For ->check(): why `text` is no time to wait, or nothing.
std::string CheckSeconds(const std::string& text) {
  double seconds = 0;
  const bool valid = absl::SimpleAtod(text, &seconds) && seconds >= 0 && seconds <= kMaxSeconds;
  return valid ? "" : text + " is not a number of seconds from 0 to 86400";
}

}  // namespace

void AddRequestFlags(CLI::App& command, RequestFlags& flags) {
  auto* arm =
      command.add_option("--arm", flags.arm, "Route by this arm of the plan, which must allow it")
          ->check(IsUtf8())
          ->type_name("ARM");
  command
      .add_option("--policy", flags.policy,
                  "Route by this policy (see olmoectl patch --help); the server must allow inline "
                  "policies")
      ->check(IsUtf8())
      ->excludes(arm)
      ->type_name("SPEC");
  command
      .add_option("--unit", flags.unit,
                  "Whom the request is for: in an experiment the same unit gets the same arm")
      ->check(IsUtf8());
  command
      .add_option("--request-id", flags.request_id,
                  "Id of the request, for the log and `olmoectl status`")
      ->check(IsUtf8());
  AddNumber(command, "--routing-seed", flags.routing_seed,
            "Seed of a policy's noise: the same seed chooses the same experts");
}

void AddTraceFlag(CLI::App& command, std::string& path) {
  command
      .add_option("--trace-out", path,
                  "Record experts, weights and router logits, for `route --logits`")
      ->type_name("FILE.safetensors");
}

void AddExpectFlag(CLI::App& command, std::optional<uint64_t>& generation) {
  AddNumber(command, "--expect", generation, "Change nothing unless this generation is current")
      ->type_name("GENERATION");
}

CLI::Option* AddTtlFlag(CLI::App& command, std::string& ttl, const std::string& help) {
  return command.add_option("--ttl", ttl, help)->check(notation::CheckDuration)->type_name("TIME");
}

std::string InlinePolicyHint(const absl::Status& status, bool has_policy) {
  if (status.code() != absl::StatusCode::kPermissionDenied || !has_policy) return "";
  return "--policy is sent with the request: start the server with --allow-inline-policy, or leave "
         "it out";
}

void AddWaitFlag(CLI::App& command, std::string& value) {
  command
      .add_flag("--wait{60}", value,
                "Wait until no request uses an older plan, for 60 seconds or --wait=SECONDS")
      ->check(CheckSeconds);
}

google::protobuf::Duration WaitDuration(const std::string& value) {
  double seconds = 0;
  CHECK(absl::SimpleAtod(value, &seconds));
  return google::protobuf::util::TimeUtil::MillisecondsToDuration(
      static_cast<int64_t>(seconds * 1e3));
}

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
