#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/commands/wait_flag.h"
#include "client/number_list.h"
#include "client/render/routing.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client {
namespace {

struct PatchOptions {
  uint32_t top_k = 0;
  std::optional<std::string> layers;
  std::string weight_mode;
  std::string policy_id;
  std::optional<uint64_t> expect;
  bool dry_run = false;
  std::string wait;
};

void Flags(CLI::App& command, PatchOptions& options) {
  command.add_option("--top-k", options.top_k, "Experts per token")->required();
  command.add_option("--layers", options.layers, "Only these layers: 0-3,7")->type_name("LAYERS");
  command
      .add_option("--weight-mode", options.weight_mode,
                  "What is done with the weights of the chosen experts")
      ->check(CLI::IsMember({"default", "native", "sum-to-one", "match"}));
  command.add_option("--policy-id", options.policy_id, "Name of the policy; default top-k-K")
      ->check(IsUtf8());
  command.add_option("--expect", options.expect, "Refuse unless this generation is current")
      ->type_name("GENERATION");
  command.add_flag("--dry-run", options.dry_run, "Check only; change nothing");
  AddWaitFlag(command, options.wait);
}

v1::WeightMode ToWeightMode(const std::string& name) {
  if (name == "native") return v1::WEIGHT_MODE_NATIVE;
  if (name == "sum-to-one") return v1::WEIGHT_MODE_SUM_TO_ONE;
  if (name == "match") return v1::WEIGHT_MODE_MATCH_TOP_K_MASS;
  return v1::WEIGHT_MODE_MODEL_DEFAULT;
}

absl::StatusOr<v1::PatchRoutersRequest> BuildRequest(const PatchOptions& options) {
  v1::PatchRoutersRequest request;
  v1::RoutingPolicy* policy = request.mutable_policy();
  policy->set_policy_id(options.policy_id.empty() ? absl::StrCat("top-k-", options.top_k)
                                                  : options.policy_id);
  v1::Rule* rule = nullptr;
  if (options.layers) {
    const auto layers = ParseLayers(*options.layers);
    if (!layers.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--layers: ", layers.status().message()));
    }
    v1::LayerOverride* some = policy->add_layer_overrides();
    some->mutable_layers()->Add(layers->begin(), layers->end());
    rule = some->mutable_apply();
  } else {
    rule = policy->mutable_apply();
  }
  rule->mutable_top_k()->set_k(options.top_k);
  rule->set_weight_mode(ToWeightMode(options.weight_mode));
  if (options.expect) request.set_expected_generation(*options.expect);
  request.set_validate_only(options.dry_run);
  if (!options.wait.empty()) *request.mutable_wait_for_drain() = WaitDuration(options.wait);
  return request;
}

ExitCode Run(const PatchOptions& options, Session& session) {
  const auto request = BuildRequest(options);
  if (!request.ok()) return session.UsageError(request.status());
  const auto response = session.rpc().PatchRouters(*request);
  if (!response.ok()) return session.Fail(response.status());
  if (session.options().json) return session.PrintJson(*response);
  if (options.dry_run) session.out() << "valid; ";
  session.out() << RenderPatch(*response, session.out_style());
  return ExitCode::kOk;
}

}  // namespace

void AddPatch(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<PatchOptions>(app, chosen, "patch", "Change the routers of the model that is served",
                           Flags, Run);
}

}  // namespace olmoe::client
