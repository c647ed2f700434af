#include "client/notation/json_numbers.h"

#include <limits>
#include <string>

namespace olmoe::client::notation {

double ReadNumber(const JsonCursor& value) {
  if (value.IsString()) {
    const std::string name = value.String();
    if (name == "NaN") return std::numeric_limits<double>::quiet_NaN();
    if (name == "Infinity") return std::numeric_limits<double>::infinity();
    if (name == "-Infinity") return -std::numeric_limits<double>::infinity();
  }
  return value.Number();
}

std::vector<double> ReadNumbers(const JsonCursor& array) {
  std::vector<double> numbers;
  numbers.reserve(array.size());
  array.ForEach([&numbers](const JsonCursor& value) { numbers.push_back(ReadNumber(value)); });
  return numbers;
}

}  // namespace olmoe::client::notation
