#include "server/util/command_line.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace olmoe {
namespace {

constexpr char kDigits[] = "0123456789";

bool IsDigits(absl::string_view text) {
  return !text.empty() && text.find_first_not_of(kDigits) == absl::string_view::npos;
}

std::string Quoted(const std::string& text) { return absl::StrCat("\"", text, "\""); }

// Letters to add, to leave out, to change or to swap with the next (Damerau and Levenshtein).
size_t Distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> least(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        least[i][j] = i + j;
        continue;
      }
      least[i][j] = std::min({least[i - 1][j] + 1, least[i][j - 1] + 1,
                              least[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        least[i][j] = std::min(least[i][j], least[i - 2][j - 2] + 1);
      }
    }
  }
  return least[a.size()][b.size()];
}

bool IsShown(const CLI::Option* option) { return !option->get_group().empty(); }

std::vector<std::string> FlagsOf(const CLI::App& command) {
  std::vector<std::string> flags;
  for (const CLI::App* app = &command; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options(IsShown)) {
      for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
    }
  }
  return flags;
}

std::vector<std::string> CommandsOf(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* app : command.get_subcommands([](const CLI::App*) { return true; })) {
    if (!app->get_group().empty()) names.push_back(app->get_name());
  }
  return names;
}

// The last command on the line: "calibration build".
const CLI::App& ChosenBy(const CLI::App& app) {
  const CLI::App* chosen = &app;
  while (!chosen->get_subcommands().empty()) chosen = chosen->get_subcommands().back();
  return *chosen;
}

// "olmoectl calibration build"
std::string NameOf(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return parent == nullptr ? command.get_name()
                           : absl::StrCat(NameOf(*parent), " ", command.get_name());
}

std::string WithGuess(const std::string& what, const std::string& guess) {
  return guess.empty() ? what : absl::StrCat(what, "; did you mean ", guess, "?");
}

// Of the first word that nothing on the command line is for; "" where there is none.
std::string DescribeUnknown(const CLI::App& app) {
  const CLI::App& command = ChosenBy(app);
  for (const std::string& word : app.remaining(/*recurse=*/true)) {
    if (word.size() > 1 && word[0] == '-' && word != "--") {
      const std::string flag = word.substr(0, word.find('='));
      return WithGuess(absl::StrCat(flag, ": no such flag of ", NameOf(command)),
                       Nearest(flag, FlagsOf(command)));
    }
    const std::vector<std::string> commands = CommandsOf(command);
    if (!commands.empty()) {
      return WithGuess(absl::StrCat(Quoted(word), ": no such command of ", NameOf(command)),
                       Nearest(word, commands));
    }
  }
  return "";
}

}  // namespace

CLI::Validator IsWholeNumber(int64_t least, uint64_t most) {
  const auto check = [least, most](std::string& text) -> std::string {
    const bool negative = absl::StartsWith(text, "-");
    const std::string digits = text.substr(negative ? 1 : 0);
    uint64_t size = 0;
    bool valid = IsDigits(digits) && absl::SimpleAtoi(digits, &size);
    if (negative) {
      valid = valid && least < 0 && size <= uint64_t{0} - static_cast<uint64_t>(least);
    } else {
      valid = valid && size <= most && (least <= 0 || size >= static_cast<uint64_t>(least));
    }
    if (!valid) {
      return absl::StrCat(Quoted(text), " is not a whole number from ", least, " to ", most);
    }
    text = absl::StrCat(negative ? "-" : "", size);
    return "";
  };
  return CLI::Validator(check, "");
}

CLI::Validator IsNumber(Bounds<double> bounds) {
  const auto check = [bounds](std::string& text) -> std::string {
    double value = 0;
    const bool is_hex = text.find_first_of("xX") != std::string::npos;
    if (is_hex || !absl::SimpleAtod(text, &value) || !std::isfinite(value)) {
      return absl::StrCat(Quoted(text), " is not a number");
    }
    if (value >= bounds.least && value <= bounds.most) return "";
    constexpr double kMost = std::numeric_limits<double>::max();
    return absl::StrCat(Quoted(text), " is not ",
                        bounds.most == kMost
                            ? absl::StrCat("a number from ", bounds.least, " on")
                            : absl::StrCat("a number from ", bounds.least, " to ", bounds.most));
  };
  return CLI::Validator(check, "");
}

CLI::Validator IsSize() {
  const auto check =
      [as_bytes = CLI::AsSizeValue(/*kb_is_1000=*/false)](std::string& text) -> std::string {
    const std::string given = Quoted(text);
    const size_t end = std::min(text.find_first_not_of(kDigits), text.size());
    const absl::string_view unit = absl::StripAsciiWhitespace(absl::string_view(text).substr(end));
    const bool is_unit = std::all_of(unit.begin(), unit.end(), absl::ascii_isalpha);
    uint64_t number = 0;
    try {
      if (is_unit && IsDigits(text.substr(0, end)) &&
          absl::SimpleAtoi(text.substr(0, end), &number)) {
        std::string bytes = absl::StrCat(number, unit);
        if (as_bytes(bytes).empty()) {
          text = bytes;
          return "";
        }
      }
    } catch (const CLI::ValidationError&) {  // no such unit, or too large
    }
    return absl::StrCat(given, " is not a size such as 512MiB, 4GiB or a number of bytes");
  };
  return CLI::Validator(check, "");
}

std::string Nearest(const std::string& word, const std::vector<std::string>& known) {
  const auto letters = [](const std::string& text) {
    return absl::StrReplaceAll(text, {{"-", ""}, {"_", ""}});
  };
  const std::string wanted = letters(word);
  std::string nearest;
  size_t least = std::max<size_t>(1, wanted.size() / 3) + 1;  // apart further: no guess
  for (const std::string& candidate : known) {
    const size_t distance = Distance(wanted, letters(candidate));
    if (distance < least) {
      least = distance;
      nearest = candidate;
    }
  }
  if (!nearest.empty() || wanted.size() < 2) return nearest;
  const auto begun = std::find_if(known.begin(), known.end(), [&](const std::string& candidate) {
    return absl::StartsWith(letters(candidate), wanted);
  });
  return begun == known.end() ? "" : *begun;
}

std::string DescribeParseError(const CLI::App& app, const CLI::ParseError& error) {
  const std::string unknown = DescribeUnknown(app);
  return absl::StrCat(unknown.empty() ? absl::StrReplaceAll(error.what(), {{"\n", " "}}) : unknown,
                      " (see ", NameOf(ChosenBy(app)), " --help)");
}

}  // namespace olmoe
