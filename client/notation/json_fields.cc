#include "client/notation/json_fields.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace olmoe::client::notation {

using nlohmann::json;

bool ReadNumber(const json& value, double* number) {
  if (value.is_number()) {
    *number = value.get<double>();
    return true;
  }
  if (value == "NaN") {
    *number = std::numeric_limits<double>::quiet_NaN();
  } else if (value == "Infinity") {
    *number = std::numeric_limits<double>::infinity();
  } else if (value == "-Infinity") {
    *number = -std::numeric_limits<double>::infinity();
  } else {
    return false;
  }
  return true;
}

JsonFields::JsonFields(const json& object, std::string name)
    : object_(object), name_(std::move(name)) {
  if (!object_.is_object()) Fail("", "must be an object");
}

void JsonFields::Fail(const std::string& field, std::string_view what) {
  if (!error_.empty()) return;
  const std::string path = absl::StrCat(name_, name_.empty() || field.empty() ? "" : ".", field);
  error_ = absl::StrCat(path, path.empty() ? "" : ": ", std::string(what));
}

bool JsonFields::Has(const std::string& field) const {
  return object_.is_object() && object_.contains(field);
}

const json* JsonFields::Find(const std::string& field) {
  if (Has(field)) return &object_.at(field);
  Fail(field, "is missing");
  return nullptr;
}

double JsonFields::Number(const std::string& field) {
  double number = 0;
  const json* value = Find(field);
  if (value != nullptr && !ReadNumber(*value, &number)) Fail(field, "must be a number");
  return number;
}

uint32_t JsonFields::Count(const std::string& field) {
  constexpr uint32_t kMost = std::numeric_limits<uint32_t>::max();
  const json* value = Find(field);
  if (value == nullptr) return 0;
  if (value->is_number_unsigned()) {
    return static_cast<uint32_t>(std::min<uint64_t>(value->get<uint64_t>(), kMost));
  }
  if (!value->is_number_integer()) Fail(field, "must be a whole number");
  return 0;  // negative
}

int JsonFields::Integer(const std::string& field, int least, int most) {
  const json* value = Find(field);
  if (value == nullptr) return least;
  const bool fits = value->is_number_integer() && *value >= least && *value <= most;
  if (!fits) Fail(field, absl::StrCat("must be a whole number from ", least, " to ", most));
  return fits ? value->get<int>() : least;
}

std::string JsonFields::Text(const std::string& field) {
  const json* value = Find(field);
  if (value == nullptr) return "";
  if (!value->is_string()) Fail(field, "must be a string");
  return value->is_string() ? value->get<std::string>() : "";
}

const json& JsonFields::Object(const std::string& field) {
  static const json kNone;
  const json* value = Find(field);
  return value == nullptr ? kNone : *value;
}

std::vector<double> JsonFields::Numbers(const std::string& field) {
  std::vector<double> numbers;
  const json* value = Find(field);
  if (value == nullptr) return numbers;
  if (!value->is_array()) {
    Fail(field, "must be an array of numbers");
    return numbers;
  }
  for (const json& element : *value) {
    if (!ReadNumber(element, &numbers.emplace_back())) {
      Fail(absl::StrCat(field, "[", numbers.size() - 1, "]"), "must be a number");
    }
  }
  return numbers;
}

}  // namespace olmoe::client::notation
