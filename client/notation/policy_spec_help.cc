#include <map>
#include <optional>
#include <type_traits>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/notation/policy_spec.h"
#include "client/notation/policy_words.h"

namespace olmoe::client::notation {
namespace {

// What stands for the value of a parameter: "K", "ALPHA", "layer-cdf|one-minus-prob".
template <class Value>
std::string Placeholder(const std::string& key, const Value&) {
  if constexpr (std::is_enum_v<Value>) {
    return absl::StrJoin(WordsOf<Value>(), "|");
  } else if constexpr (std::is_same_v<Value, double>) {
    return absl::AsciiStrToUpper(key);
  } else if constexpr (std::is_same_v<Value, uint32_t>) {
    return "K";
  } else if constexpr (std::is_same_v<Value, std::vector<uint32_t>>) {
    return "IDS";
  } else if constexpr (std::is_same_v<Value, std::vector<float>>) {
    return "X:X:...";
  } else {
    static_assert(std::is_same_v<Value, std::string>);
    return key == "calibration" ? "NAME" : "EXPR";
  }
}
template <class Value>
std::string Placeholder(const std::string& key, const std::optional<Value>&) {
  return Placeholder(key, Value());
}

// "max=K"
template <class Field, class Value>
std::string KeyAndPlaceholder(const Field& field, const Value& value) {
  return absl::StrCat(KeyOf(field), "=", Placeholder(KeyOf(field), value));
}

// "min=K, max=K"
template <class Part>
std::string KeysOf(const Part& part) {
  std::vector<std::string> keys;
  routing::ForEachField(part, [&keys](const auto& field, const auto& value) {
    keys.push_back(KeyAndPlaceholder(field, value));
  });
  return absl::StrJoin(keys, ", ");
}

struct KindHelp {
  std::string name;       // "bh"
  std::string help;       // what it keeps
  std::string main = {};  // "ALPHA", the value that needs no key
  bool required = false;
  bool is_text = false;   // which a flag takes whole
  std::string rest = {};  // "[,BOUNDS][,P-VALUES]"
};

// Adds to `parts` what BOUNDS and P-VALUES stand for.
template <class Kind>
KindHelp HelpOf(const Kind& kind, std::map<std::string, std::string>* parts) {
  KindHelp out{.name = RuleName({.kind = kind}), .help = routing::Description<Kind>::kHelp};
  routing::ForEachEntry(
      kind,
      [&](const auto& field, const auto& value) {
        if (out.main.empty()) {
          out.main = Placeholder(KeyOf(field), value);
          out.required = !IsOptional(value);
          out.is_text = std::is_same_v<decltype(value), const std::string&>;
        } else {
          absl::StrAppend(&out.rest, "[,", KeyAndPlaceholder(field, value), "]");
        }
      },
      [&]<class Part>(const Part& part) {
        const char* name = routing::Description<Part>::kHelp;
        absl::StrAppend(&out.rest, "[,", name, "]");
        (*parts)[name] = KeysOf(part);
      });
  return out;
}

}  // namespace

std::vector<RuleFlag> RuleFlags() {
  std::vector<RuleFlag> flags;
  std::map<std::string, std::string> parts;
  routing::ForEachKind([&](const auto& kind) {
    const KindHelp help = HelpOf(kind, &parts);
    const std::string main = help.required ? help.main : absl::StrCat("[", help.main, "]");
    flags.push_back(
        {help.name, help.is_text ? main : main + help.rest, absl::StrCat("Keep ", help.help)});
  });
  return flags;
}

std::vector<RuleFlag> AdjustFlags() {
  std::vector<RuleFlag> flags;
  ForEachPossibleField(routing::Rule(), [&flags](const auto& field, const auto& value) {
    flags.push_back({KeyOf(field), Placeholder(KeyOf(field), value), field.help});
  });
  return flags;
}

std::string PolicySpecHelp() {
  std::string text =
      "  SPEC is [NAME@]native (the model's own routing) or [NAME@]RULE[/RULE]...; a RULE keeps\n";
  std::map<std::string, std::string> parts;
  routing::ForEachKind([&](const auto& kind) {
    const KindHelp help = HelpOf(kind, &parts);
    const std::string main =
        help.required ? absl::StrCat("=", help.main) : absl::StrCat("[=", help.main, "]");
    absl::StrAppendFormat(&text, "    %-31s%s\n", help.name + main + help.rest, help.help);
  });
  for (const auto& [name, keys] : parts) {
    absl::StrAppend(&text, "  ", name, ": any of ", keys, "\n");
  }
  absl::StrAppend(&text, "  each with [,", KeysOf(routing::Rule()), "] [,ADJUSTMENT]\n");
  absl::StrAppend(
      &text,
      "  [,layers=0-3+7] (all without) [,analyze] (counted, not run) [,decode] (for tokens beyond\n"
      "  the prompt). An EXPR with commas or slashes stands in \"\". /router=ROUTER behind the "
      "rules, or\n"
      "  behind native: by the weights of that router, where it has the layer.\n"
      "  ADJUSTMENT: any of\n");
  for (const RuleFlag& flag : AdjustFlags()) {
    absl::StrAppendFormat(&text, "    %-32s%s\n", absl::StrCat(flag.name, "=", flag.value),
                          flag.help);
  }
  absl::StrAppend(
      &text,
      "  min and max bound the number of experts of a token. bh and hc turn the router's logits\n"
      "  into p-values, by the tables of a calibration, and keep the experts whose logit is\n"
      "  unusually high: bh at the false discovery rate ALPHA (more ALPHA, more experts), hc\n"
      "  where p-values part most from chance, in the first BETA of them. weights: how the\n"
      "  outputs of the kept experts are weighted; model-default is what the model does.\n"
      "  Examples: top-k=4   wide@top-p=0.7,max=16   bh=0.4 (which is bh:alpha=0.4)\n"
      "            top-k=2,layers=0-3/top-k=16,layers=12-15   top-k=8,ban=3+17,force=5\n"
      "            native/bh=0.12,max=32,calibration=wiki-t8,analyze   native/top-k=2,decode\n"
      "            keep=\"p > 0.3 * p1 && rank <= 12\",min=2\n");
  return text;
}

}  // namespace olmoe::client::notation
