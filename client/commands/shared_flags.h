// Flags that several commands have, and what they mean.
#ifndef OLMOE_CLIENT_COMMANDS_SHARED_FLAGS_H_
#define OLMOE_CLIENT_COMMANDS_SHARED_FLAGS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "CLI/App.hpp"
#include "absl/status/statusor.h"
#include "client/commands/session.h"
#include "client/notation/policy_spec.h"
#include "google/protobuf/duration.pb.h"
#include "olmoe/v1/admin.pb.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::commands {

// --arm, --policy, --unit, --request-id and --routing-seed of what the model is asked for.
struct RequestFlags {
  std::string arm, policy, unit, request_id;
  std::optional<uint64_t> routing_seed;
  std::string replay, replay_weights = "live";
};
void AddRequestFlags(CLI::App& command, RequestFlags& flags);
// --replay and --replay-weights, after AddRequestFlags: --policy then routes what the recording
// does not cover.
void AddReplayFlags(CLI::App& command, RequestFlags& flags);

// What --replay sends. INVALID_ARGUMENT for a file that cannot be replayed.
absl::StatusOr<v1::Replay> ReadReplay(const RequestFlags& flags);

// `Request`: a GenerateRequest or a ScoreRequest. INVALID_ARGUMENT for a --policy that is none and
// for a --replay that cannot be read.
template <typename Request>
absl::Status SetRequestFlags(const RequestFlags& flags, Request* request) {
  request->set_request_id(flags.request_id);
  request->set_unit_id(flags.unit);
  if (!flags.arm.empty()) request->mutable_routing()->set_arm_id(flags.arm);
  if (flags.routing_seed) request->set_routing_seed(*flags.routing_seed);
  if (!flags.replay.empty()) {
    auto replay = ReadReplay(flags);
    if (!replay.ok()) return replay.status();
    *request->mutable_routing()->mutable_replay() = *std::move(replay);
  }
  if (flags.policy.empty()) return absl::OkStatus();
  auto policy = notation::ParsePolicySpec(flags.policy);
  if (!policy.ok()) return policy.status();
  v1::RoutingSelector& routing = *request->mutable_routing();
  *(routing.has_replay() ? routing.mutable_replay()->mutable_otherwise()
                         : routing.mutable_policy()) = *std::move(policy);
  return absl::OkStatus();
}

// What helps where a request was refused for the routing that it brought; "" elsewhere.
std::string InlinePolicyHint(const absl::Status& status, const v1::RoutingSelector& routing);

// --ttl of the commands that publish a plan. `ttl` is empty where it is not given.
CLI::Option* AddTtlFlag(CLI::App& command, std::string& ttl, const std::string& help);

// --trace-out. `path` is empty where it is not given.
void AddTraceFlag(CLI::App& command, std::string& path);

// --expect of the commands that replace the routing plan.
void AddExpectFlag(CLI::App& command, std::optional<uint64_t>& generation);

// Adds --wait and --wait=SECONDS: until no request uses an older plan. `value` is
// empty where it is not given.
void AddWaitFlag(CLI::App& command, std::string& value);
// `value`: not empty, and checked by the flag.
google::protobuf::Duration WaitDuration(const std::string& value);

// The RoutingPlan in proto JSON that --plan names: a file or, for "-", the standard input.
// INVALID_ARGUMENT, naming the file and the field, for one that does not exist or
// has the wrong type; whether the plan is valid is the server's to say.
absl::StatusOr<v1::RoutingPlan> ReadPlan(const std::string& path, Session& session);

}  // namespace olmoe::client::commands

#endif  // OLMOE_CLIENT_COMMANDS_SHARED_FLAGS_H_
