#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/commands/shared_flags.h"
#include "client/notation/duration.h"
#include "client/notation/plan_flags.h"
#include "client/notation/policy_spec.h"
#include "client/notation/policy_words.h"
#include "client/render/routing.h"
#include "olmoe/v1/admin.pb.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::commands {
namespace {

struct PatchOptions {
  const CLI::App* command = nullptr;  // knows the order of the flags of arms
  std::vector<std::string> in_order;  // where those leave their values; not read
  bool analyze = false, decode = false, allow_explicit = false;
  std::string plan, salt, note, ttl, idempotency_key;
  std::optional<std::string> probe;
  bool require_change = false;
  std::optional<uint64_t> expect;
  bool dry_run = false;
  std::string wait;
};

CLI::Option* Ordered(CLI::App& command, PatchOptions& options, const std::string& names,
                     const std::string& type, const std::string& description) {
  return command.add_option(names, options.in_order, description)
      ->allow_extra_args(false)
      ->check(IsUtf8())
      ->type_name(type);
}

void ArmFlags(CLI::App& command, PatchOptions& options) {
  const auto add = [&](const std::string& names, const std::string& type,
                       const std::string& description) {
    return Ordered(command, options, names, type, description);
  };
  for (const notation::RuleFlag& rule : notation::RuleFlags()) {
    add("--" + rule.name, rule.value, rule.help);
  }
  add("--policy", "SPEC", "The whole policy in one word, a SPEC; see below");
  add("--weights,--weight-mode", "MODE", "How the outputs of the kept experts are weighted")
      ->check(CLI::IsMember(notation::WordsOf<routing::WeightMode>()));
  add("--temperature", "T",
      "Of bh and hc: temperature of the softmax that the weights are taken from");
  add("--min", "K", "Run at least K experts");
  add("--max", "K", "Run at most K experts");
  for (const notation::RuleFlag& adjust : notation::AdjustFlags()) {
    add("--" + adjust.name, adjust.value, adjust.help);
  }
  add("--layers", "LAYERS", "Use the rule for these layers only: 0-3,7");
  command.add_flag("--analyze", options.analyze,
                   "Count what the rule would keep, and do not run it");
  command.add_flag("--decode", options.decode, "Use the rule for tokens beyond the prompt only");
  add("--router", "ROUTER",
      "Route by the weights of this router, where it has the layer; see the command router");
  add("--policy-id", "NAME", "Name of the policy; default: made from its rules");
  add("--arm", "NAME",
      "Begin an arm of the plan: the rules, --weight and the like behind it are the arm's");
  add("--weight", "N",
      "Traffic of the arm, over the sum of all weights; default 1, 0 = by name only");
  command.add_flag("--allow-explicit", options.allow_explicit,
                   "Let requests ask for the arm by name");
}

void Flags(CLI::App& command, PatchOptions& options) {
  options.command = &command;
  command.footer(absl::StrCat(
      "The order of the flags counts: --weights, --min, --max, --ban, --layers, --analyze and the\n"
      "like belong to the rule before them, and what is behind an --arm belongs to that arm. For\n"
      "example\n"
      "  olmoectl patch --arm control --weight 90 --arm wide --weight 10 --top-k 16 --ttl 1h\n\n",
      notation::PolicySpecHelp()));
  ArmFlags(command, options);
  command
      .add_option("--plan", options.plan,
                  "Read the plan from a file: a RoutingPlan in JSON; - = stdin")
      ->type_name("FILE");
  command
      .add_option("--salt", options.salt,
                  "Salt of the split of units over arms; another one assigns every unit anew")
      ->check(IsUtf8());
  command.add_option("--note", options.note, "Note for the history")->check(IsUtf8());
  AddExpectFlag(command, options.expect);
  AddTtlFlag(command, options.ttl, "Go back to the plan before after this time, such as 10m");
  command
      .add_option(
          "--probe", options.probe,
          "Score this text under each arm first, and tell what changes; \"\" = a text of the "
          "server's")
      ->check(IsUtf8())
      ->type_name("TEXT");
  command.add_flag("--require-change", options.require_change,
                   "Refuse the plan where the probe shows that an arm with a rule changes nothing");
  command
      .add_option("--idempotency-key", options.idempotency_key,
                  "Key of the call: when it is sent again, the first answer comes again")
      ->check(IsUtf8())
      ->type_name("KEY");
  command.add_flag("--dry-run", options.dry_run, "Check the plan and show it, and change nothing");
  AddWaitFlag(command, options.wait);
}

bool IsArmFlag(const CLI::App& command, const CLI::Option* option) {
  static constexpr const char* kOthers[] = {
      "--plan",    "--salt",           "--note", "--expect",         "--ttl", "--probe", "--help",
      "--dry-run", "--require-change", "--wait", "--idempotency-key"};
  for (const char* other : kOthers) {
    if (command.get_option(other) == option) return false;
  }
  return true;
}

std::vector<notation::FlagValue> FlagsOfArms(const CLI::App& command) {
  std::vector<notation::FlagValue> flags;
  std::map<const CLI::Option*, size_t> seen;
  for (const CLI::Option* option : command.parse_order()) {
    if (!IsArmFlag(command, option)) continue;
    flags.push_back({option->get_lnames().front(), option->results().at(seen[option]++)});
  }
  return flags;
}

// No word of arms: then the request says so too, and the server names the arm.
bool IsOnePolicy(const PatchOptions& options, const std::vector<notation::FlagValue>& flags) {
  if (!options.plan.empty() || !options.salt.empty() || !options.note.empty()) return false;
  return std::none_of(flags.begin(), flags.end(), [](const notation::FlagValue& flag) {
    return flag.name == "arm" || flag.name == "weight" || flag.name == "allow-explicit";
  });
}

absl::Status SetTarget(const PatchOptions& options, Session& session,
                       v1::PatchRoutersRequest* request) {
  const std::vector<notation::FlagValue> flags = FlagsOfArms(*options.command);
  if (options.plan.empty() && flags.empty()) {
    return absl::InvalidArgumentError(
        "what to patch with is missing: a rule such as --top-k, --policy, --arm or --plan "
        "(see olmoectl patch --help)");
  }
  if (!options.plan.empty() && !flags.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--plan and --", flags.front().name, ": one of the two"));
  }
  auto plan = options.plan.empty() ? notation::PlanOfFlags(flags) : ReadPlan(options.plan, session);
  if (!plan.ok()) return plan.status();
  if (IsOnePolicy(options, flags)) {
    *request->mutable_policy() = std::move(*plan->mutable_arms(0)->mutable_policy());
    return absl::OkStatus();
  }
  if (!options.salt.empty()) plan->set_salt(options.salt);
  if (!options.note.empty()) plan->set_note(options.note);
  *request->mutable_plan() = *std::move(plan);
  return absl::OkStatus();
}

absl::StatusOr<v1::PatchRoutersRequest> BuildRequest(const PatchOptions& options,
                                                     Session& session) {
  v1::PatchRoutersRequest request;
  if (auto status = SetTarget(options, session, &request); !status.ok()) return status;
  if (options.expect) request.set_expected_generation(*options.expect);
  request.set_validate_only(options.dry_run);
  request.set_idempotency_key(options.idempotency_key);
  if (!options.ttl.empty()) *request.mutable_ttl() = *notation::ParseDuration(options.ttl);
  if (options.probe || options.require_change) {
    request.mutable_probe()->set_text(options.probe.value_or(""));
    request.mutable_probe()->set_require_change(options.require_change);
  }
  if (!options.wait.empty()) *request.mutable_wait_for_drain() = WaitDuration(options.wait);
  return request;
}

// The probe tells how many routers a policy applies to, the model how many there are.
uint32_t CountLayers(const v1::PatchRoutersResponse& response, Session& session) {
  if (response.probe_results().empty()) return 0;
  const auto info = session.rpc().GetModelInfo({});
  return info.ok() ? info->num_layers() : 0;
}

ExitCode Run(const PatchOptions& options, Session& session) {
  const auto request = BuildRequest(options, session);
  if (!request.ok()) return session.UsageError(request.status());
  const auto text = [&](const v1::PatchRoutersResponse& response, const render::Style& style) {
    const uint32_t num_layers = CountLayers(response, session);
    return options.dry_run ? render::RenderDryRun(response, num_layers, style)
                           : render::RenderPatch(response, num_layers, style);
  };
  return session.PrintReply(session.rpc().PatchRouters(*request), text);
}

}  // namespace

void AddPatch(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<PatchOptions>(app, chosen, "patch", "Patch the routers of the model that is served",
                           Flags, Run);
}

}  // namespace olmoe::client::commands
