#include "server/config_file.h"

#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/util/command_line.h"

namespace olmoe {
namespace {

[[noreturn]] void Fail(const std::string& what) {
  throw CLI::ConfigError(what, CLI::ExitCodes::ConfigError);
}

std::vector<std::string> KeysOf(const CLI::App& app) {
  std::vector<std::string> keys;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      if (option->get_configurable()) keys.push_back(name);
    }
  }
  return keys;
}

}  // namespace

std::vector<CLI::ConfigItem> ConfigFile::from_config(std::istream& input) const {
  Lines lines;
  size_t number = 0;
  for (std::string line; std::getline(input, line);) {
    ++number;
    try {
      ReadLine(line, number, &lines);
    } catch (const CLI::Error& error) {
      Fail(
          absl::StrCat(app_->get_config_ptr()->as<std::string>(), ":", number, ": ", error.what()));
    }
  }
  return {};
}

void ConfigFile::ReadLine(const std::string& line, size_t number, Lines* lines) const {
  const absl::string_view text = absl::StripAsciiWhitespace(line);
  if (text.empty() || text[0] == '#' || text[0] == ';') return;
  std::istringstream one(line);
  const std::vector<CLI::ConfigItem> items = ConfigBase::from_config(one);
  if (text[0] == '[' || items.size() != 1) Fail("is not KEY=VALUE; there are no sections");
  Set(items[0], number, lines);
}

void ConfigFile::Set(const CLI::ConfigItem& item, size_t number, Lines* lines) const {
  const std::string key = item.fullname();
  CLI::Option* const option = app_->get_option_no_throw("--" + key);
  if (option == nullptr || !option->get_configurable()) {
    const std::string guess = Nearest(key, KeysOf(*app_));
    Fail(absl::StrCat("\"", key, "\" is no flag",
                      guess.empty() ? "" : absl::StrCat("; did you mean ", guess, "?")));
  }
  const auto [first, is_new] = lines->try_emplace(option->get_name(), number);
  if (!is_new) Fail(absl::StrCat(key, " is given in line ", first->second, " already"));
  if (!option->empty()) return;  // by the command line
  if (option->get_expected_min() == 0) {
    option->add_result(option->get_flag_value(key, to_flag(item)));
  } else {
    option->add_result(item.inputs);
  }
  option->run_callback();
}

}  // namespace olmoe
