#include "client/render/completion.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/substitute.h"

namespace olmoe::client::render {
namespace {

// What a shell has to know of a flag or a positional argument.
struct Argument {
  std::vector<std::string> longs, shorts;  // without dashes; none: positional
  std::string description;
  bool takes_value = false;
  std::vector<std::string> values;  // the only ones allowed; empty = any
  std::string names;                // of what the server has: "arms"; empty = of nothing there

  std::vector<std::string> Flags() const {
    std::vector<std::string> flags;
    for (const auto& name : shorts) flags.push_back("-" + name);
    for (const auto& name : longs) flags.push_back("--" + name);
    return flags;
  }
};

struct Command {
  std::string name;  // "calibration build" for a command below another
  std::string description;
  std::vector<Argument> arguments;
  std::vector<std::string> below;  // names of the commands below it
};

// CLI11 keeps the members of IsMember only in the name of the type: "TEXT:{a,b}".
std::vector<std::string> AllowedValues(const std::string& type_name) {
  const size_t open = type_name.find('{');
  const size_t close = type_name.find('}');
  if (open == std::string::npos || close == std::string::npos) return {};
  return absl::StrSplit(type_name.substr(open + 1, close - open - 1), ',');
}

// What `olmoectl complete-names` is asked for where such a value is typed.
std::string NamesOf(const std::string& type_name) {
  if (type_name == "ARM") return "arms";
  if (type_name == "CALIBRATION") return "calibrations";
  if (type_name == "ROUTER") return "routers";
  return type_name == "GENERATION" ? "generations" : "";
}

std::vector<Argument> Arguments(const CLI::App& app) {
  std::vector<Argument> arguments;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;  // not shown
    arguments.push_back({.longs = option->get_lnames(),
                         .shorts = option->get_snames(),
                         .description = option->get_description(),
                         .takes_value = option->get_items_expected_min() > 0,
                         .values = AllowedValues(option->get_type_name()),
                         .names = NamesOf(option->get_type_name())});
  }
  return arguments;
}

// All commands, each before those below it.
std::vector<Command> Commands(const CLI::App& app, const std::string& prefix = "") {
  std::vector<Command> commands;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_group().empty()) continue;  // not shown
    const std::string name = prefix + command->get_name();
    const std::vector<Command> below = Commands(*command, name + " ");
    commands.push_back({name, command->get_description(), Arguments(*command), {}});
    for (const Command& one : below) {
      commands.back().below.push_back(one.name.substr(name.size() + 1));
    }
    commands.insert(commands.end(), below.begin(), below.end());
  }
  return commands;
}

// Of the commands that stand first on the line.
std::vector<std::string> Names(const std::vector<Command>& commands) {
  std::vector<std::string> names;
  for (const Command& command : commands) {
    if (!absl::StrContains(command.name, ' ')) names.push_back(command.name);
  }
  return names;
}

// A word of the shell: `text`, in double quotes where it has a space.
std::string ShellWord(const std::string& text) {
  return absl::StrContains(text, ' ') ? absl::StrCat("\"", text, "\"") : text;
}

// ---- bash

constexpr char kBash[] = R"(# bash completion of $0
_olmoectl_names() {
  "$${COMP_WORDS[0]}" complete-names "$$1" "$$COMP_LINE" 2>/dev/null
}
_$0() {
  local cur=$${COMP_WORDS[COMP_CWORD]} prev=$${COMP_WORDS[COMP_CWORD-1]} command= word words
  local global="$4"
  COMPREPLY=()
  for word in "$${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$$command $$word" in
      $1) command="$${command:+$$command }$$word" ;;
    esac
  done
  case $$command:$$prev in
$2    *) case $$command in
$3    esac
    words="$$words $$global" ;;
  esac
  COMPREPLY=($$(compgen -W "$$words" -- "$$cur"))
}
complete -o default -F _$0 $0
)";

// What may stand for the value, as it stands between double quotes.
std::string BashValue(const Argument& argument) {
  if (argument.names.empty()) return absl::StrJoin(argument.values, " ");
  return absl::StrCat("$(_olmoectl_names ", argument.names, ")");
}

// The case branches after a flag that takes a value: of `command`, or of any ("*").
std::string BashValues(const std::string& command, const std::vector<Argument>& arguments) {
  std::string branches;
  std::vector<std::string> free;  // flags with any value
  for (const Argument& argument : arguments) {
    if (!argument.takes_value) continue;
    for (const std::string& flag : argument.Flags()) {
      const std::string pattern = absl::StrCat(ShellWord(command), ":", flag);
      if (argument.values.empty() && argument.names.empty()) {
        free.push_back(pattern);
      } else {
        absl::StrAppend(&branches, "    ", pattern, ") words=\"", BashValue(argument), "\" ;;\n");
      }
    }
  }
  if (free.empty()) return branches;
  return absl::StrCat(branches, "    ", absl::StrJoin(free, "|"), ") return ;;\n");
}

// The flags and fixed values, in a line.
std::string BashWords(const std::vector<Argument>& arguments, std::vector<std::string> words = {}) {
  for (const Argument& argument : arguments) {
    const auto flags = argument.Flags();
    words.insert(words.end(), flags.begin(), flags.end());
    const std::string value = flags.empty() ? BashValue(argument) : "";
    // Two arms are named by the same words.
    const bool is_new = std::find(words.begin(), words.end(), value) == words.end();
    if (!value.empty() && is_new) words.push_back(value);
  }
  return absl::StrJoin(words, " ");
}

std::string BashScript(const CLI::App& app, const std::vector<Command>& commands) {
  std::string values = BashValues("*", Arguments(app));
  std::string words =
      absl::StrCat("      '') words=\"", absl::StrJoin(Names(commands), " "), "\" ;;\n");
  std::vector<std::string> paths;  // as `"$command $word"`: a first command has no other before
  for (const Command& command : commands) {
    const bool first = !absl::StrContains(command.name, ' ');
    paths.push_back(absl::StrCat("\"", first ? " " : "", command.name, "\""));
    absl::StrAppend(&values, BashValues(command.name, command.arguments));
    absl::StrAppend(&words, "      ", ShellWord(command.name), ") words=\"",
                    BashWords(command.arguments, command.below), "\" ;;\n");
  }
  return absl::Substitute(kBash, app.get_name(), absl::StrJoin(paths, "|"), values, words,
                          BashWords(Arguments(app)));
}

// ---- zsh

constexpr char kZsh[] = R"(#compdef $0
_$0() {
  local state line
  local -a commands global
  commands=(
$1  )
  global=(
    $2)
  _arguments -C $$global '1:command:->command' '*::argument:->argument'
  case $$state in
    command) _describe command commands ;;
    argument)
      case $$line[1] in
$3      esac ;;
  esac
}
if [ "$$funcstack[1]" = _$0 ]; then _$0 "$$@"; else compdef _$0 $0; fi
)";

std::string ZshQuote(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"'", "'\\''"}, {"[", "\\["}, {"]", "\\]"}, {":", "\\:"}, {"\\", "\\\\"}});
}

std::string ZshArguments(const std::vector<Argument>& arguments, const std::string& separator) {
  std::string specs;
  for (const Argument& argument : arguments) {
    const std::string value =
        !argument.names.empty() ? absl::StrCat(":value:{compadd -- $(olmoectl complete-names ",
                                               argument.names, " \"$BUFFER\" 2>/dev/null)}")
        : argument.values.empty()
            ? ":value:_files"
            : absl::StrCat(":value:(", absl::StrJoin(argument.values, " "), ")");
    for (const std::string& flag : argument.Flags()) {
      absl::StrAppend(&specs, "'*", flag, "[", ZshQuote(argument.description), "]",
                      argument.takes_value ? value : "", "'", separator);
    }
    if (argument.Flags().empty()) absl::StrAppend(&specs, "'*", value, "'", separator);
  }
  return specs;
}

// What follows one command, and the commands below it by their second word.
std::string ZshBranch(const Command& command, const std::vector<Command>& commands) {
  constexpr char kNext[] = " \\\n          ";
  const std::string below =
      command.below.empty()
          ? ""
          : absl::StrCat("'1:command:(", absl::StrJoin(command.below, " "), ")'", kNext);
  const auto call = [&](const Command& called) {
    return absl::StrCat("_arguments", kNext, below, ZshArguments(called.arguments, kNext),
                        "$global ;;\n");
  };
  if (command.below.empty()) return call(command);
  std::string branches = "case $line[2] in\n";
  for (const std::string& name : command.below) {
    for (const Command& one : commands) {
      if (one.name != absl::StrCat(command.name, " ", name)) continue;
      absl::StrAppend(&branches, "        ", name, ") ", call(one));
    }
  }
  return absl::StrCat(branches, "        *) ", call(command), "        esac ;;\n");
}

std::string ZshScript(const CLI::App& app, const std::vector<Command>& commands) {
  std::string names;
  std::string branches;
  for (const Command& command : commands) {
    if (absl::StrContains(command.name, ' ')) continue;
    absl::StrAppend(&names, "    '", command.name, ":", ZshQuote(command.description), "'\n");
    absl::StrAppend(&branches, "        ", command.name, ") ", ZshBranch(command, commands));
  }
  return absl::Substitute(kZsh, app.get_name(), names, ZshArguments(Arguments(app), "\n    "),
                          branches);
}

// ---- fish

std::string FishQuote(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"'", "\\'"}}), "'");
}

std::string FishArgument(const std::string& head, const Argument& argument) {
  std::string line = head;
  for (const auto& name : argument.longs) absl::StrAppend(&line, " -l ", name);
  for (const auto& name : argument.shorts) absl::StrAppend(&line, " -s ", name);
  if (!argument.names.empty()) {
    absl::StrAppend(&line, " -x -a '(olmoectl complete-names ", argument.names,
                    " (commandline -c) 2>/dev/null)'");
  } else if (!argument.values.empty()) {
    absl::StrAppend(&line, " -x -a ", FishQuote(absl::StrJoin(argument.values, " ")));
  } else if (argument.takes_value) {
    absl::StrAppend(&line, " -r");
  }
  return absl::StrCat(line, " -d ", FishQuote(argument.description), "\n");
}

std::string FishScript(const CLI::App& app, const std::vector<Command>& commands) {
  const std::string head = absl::StrCat("complete -c ", app.get_name());
  std::string script = absl::StrCat("# fish completion of ", app.get_name(), "\n");
  for (const Argument& argument : Arguments(app)) {
    absl::StrAppend(&script, FishArgument(head, argument));
  }
  for (const Command& command : commands) {
    const std::vector<std::string> path = absl::StrSplit(command.name, ' ');
    const std::string above =
        path.size() == 1 ? "__fish_use_subcommand"
                         : absl::StrCat("'__fish_seen_subcommand_from ", path.front(), "'");
    absl::StrAppend(&script, head, " -n ", above, " -f -a ", path.back(), " -d ",
                    FishQuote(command.description), "\n");
    const std::string seen = absl::StrJoin(path, "; and __fish_seen_subcommand_from ");
    for (const Argument& argument : command.arguments) {
      const bool is_free = argument.values.empty() && argument.names.empty();
      if (argument.Flags().empty() && is_free) continue;
      absl::StrAppend(
          &script, FishArgument(absl::StrCat(head, " -n '__fish_seen_subcommand_from ", seen, "'"),
                                argument));
    }
  }
  return script;
}

}  // namespace

std::string CompletionScript(const CLI::App& app, std::string_view shell) {
  const std::vector<Command> commands = Commands(app);
  if (shell == "zsh") return ZshScript(app, commands);
  if (shell == "fish") return FishScript(app, commands);
  return BashScript(app, commands);
}

}  // namespace olmoe::client::render
