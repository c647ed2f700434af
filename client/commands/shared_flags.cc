#include "client/commands/shared_flags.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/notation/duration.h"
#include "client/render/format.h"
#include "client/trace/trace_file.h"
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

void AddReplayFlags(CLI::App& command, RequestFlags& flags) {
  auto* replay =
      command
          .add_option("--replay", flags.replay,
                      "Run the experts that this file records, a file of --trace-out, a "
                      "RoutingTrace (.json) or vLLM's routed_experts (.npy), and the policy of "
                      "--policy where it has none; the server must allow inline policies")
          ->check(CLI::ExistingFile)
          ->excludes(command.get_option("--arm"));
  command
      .add_option("--replay-weights", flags.replay_weights,
                  "Weights of replayed experts: of the logits as they are now, in the weight mode "
                  "of --policy, or as recorded")
      ->check(CLI::IsMember({"live", "recorded"}))
      ->needs(replay)
      ->capture_default_str();
}

absl::StatusOr<v1::Replay> ReadReplay(const RequestFlags& flags) {
  auto trace = trace::ReadTrace(flags.replay);
  if (!trace.ok()) return trace.status();
  v1::Replay replay;
  if (flags.replay_weights == "recorded") {
    replay.set_weights(v1::REPLAY_WEIGHTS_RECORDED);
    if (trace->weights().empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(flags.replay, ": has no weights, which --replay-weights recorded replays"));
    }
  } else {
    replay.set_weights(v1::REPLAY_WEIGHTS_LIVE);
    trace->clear_weights();  // not looked at
  }
  *replay.mutable_trace() = *std::move(trace);
  return replay;
}

void AddTraceFlag(CLI::App& command, std::string& path) {
  command
      .add_option("--trace-out", path,
                  "Record experts, weights and router logits, for `route --logits` and --replay")
      ->type_name("FILE.safetensors");
}

void AddExpectFlag(CLI::App& command, std::optional<uint64_t>& generation) {
  AddNumber(command, "--expect", generation, "Change nothing unless this generation is current")
      ->type_name("GENERATION");
}

CLI::Option* AddTtlFlag(CLI::App& command, std::string& ttl, const std::string& help) {
  return command.add_option("--ttl", ttl, help)->check(notation::CheckDuration)->type_name("TIME");
}

std::string InlinePolicyHint(const absl::Status& status, const v1::RoutingSelector& routing) {
  const bool brings_routing = routing.has_policy() || routing.has_replay();
  if (status.code() != absl::StatusCode::kPermissionDenied || !brings_routing) return "";
  return absl::StrCat(routing.has_policy() ? "--policy" : "--replay",
                      " is sent with the request: start the server with --allow-inline-policy, or "
                      "leave it out");
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
