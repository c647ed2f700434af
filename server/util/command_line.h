// What the command lines of olmoe-server and olmoectl share, on top of CLI11.
#ifndef OLMOE_SERVER_UTIL_COMMAND_LINE_H_
#define OLMOE_SERVER_UTIL_COMMAND_LINE_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"

namespace olmoe {

template <class Value>
struct Bounds {
  Value least = std::numeric_limits<Value>::lowest();
  Value most = std::numeric_limits<Value>::max();
};

// Checks for numbers, to be the first of a flag: CLI11 alone takes -1 for 2^64 - 1, 2^64 for
// 2^64 - 1 and 010 for 8, and NaN for a number of any range. They leave plain decimal digits.
CLI::Validator IsWholeNumber(int64_t least, uint64_t most);
CLI::Validator IsNumber(Bounds<double> bounds);
// "512MiB", "4GiB" or a number of bytes; leaves the number of bytes.
CLI::Validator IsSize();

template <class Target>
struct NumberOf {
  using Type = Target;
};
template <class Value>
struct NumberOf<std::optional<Value>> {
  using Type = Value;
};

// Adds a flag or argument whose value is a number of the target's type, an arithmetic type or an
// optional of one. Every numeric flag is made by this.
template <class Target, class Value = typename NumberOf<Target>::Type>
CLI::Option* AddNumber(CLI::App& app, const std::string& names, Target& target,
                       const std::string& help,
                       std::type_identity_t<Bounds<Value>> bounds = Bounds<Value>()) {
  CLI::Option* option = app.add_option(names, target, help);
  if constexpr (std::is_floating_point_v<Value>) {
    return option->transform(IsNumber({bounds.least, bounds.most}))->type_name("NUMBER");
  } else {
    return option->transform(IsWholeNumber(bounds.least, bounds.most))->type_name("N");
  }
}

// The word of `known` that `word` is most likely meant to be, or "": a few letters apart, or the
// beginning of one. Dashes do not count.
std::string Nearest(const std::string& word, const std::vector<std::string>& known);

// What is wrong with a command line that `app` could not parse, on one line; for a flag or a command
// that does not exist with the one that was probably meant.
std::string DescribeParseError(const CLI::App& app, const CLI::ParseError& error);

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_COMMAND_LINE_H_
