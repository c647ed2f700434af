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

namespace olmoe::client::commands {

// --arm, --policy, --unit, --request-id and --routing-seed of what the model is asked for.
struct RequestFlags {
  std::string arm, policy, unit, request_id;
  std::optional<uint64_t> routing_seed;
};
void AddRequestFlags(CLI::App& command, RequestFlags& flags);

// `Request`: a GenerateRequest or a ScoreRequest. INVALID_ARGUMENT for a --policy that is none.
template <typename Request>
absl::Status SetRequestFlags(const RequestFlags& flags, Request* request) {
  request->set_request_id(flags.request_id);
  request->set_unit_id(flags.unit);
  if (!flags.arm.empty()) request->mutable_routing()->set_arm_id(flags.arm);
  if (flags.routing_seed) request->set_routing_seed(*flags.routing_seed);
  if (flags.policy.empty()) return absl::OkStatus();
  auto policy = notation::ParsePolicySpec(flags.policy);
  if (policy.ok()) *request->mutable_routing()->mutable_policy() = *std::move(policy);
  return policy.status();
}

// What helps where a request was refused for the policy that it brought; "" elsewhere.
std::string InlinePolicyHint(const absl::Status& status, bool has_policy);

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
