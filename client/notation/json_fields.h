#ifndef OLMOE_CLIENT_NOTATION_JSON_FIELDS_H_
#define OLMOE_CLIENT_NOTATION_JSON_FIELDS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nlohmann/json.hpp"

namespace olmoe::client::notation {

// Reads the fields of one JSON object from a file that may hold anything. A field
// that is missing or of another type is told in error(), the first one, and reads as
// nothing. Refers to the object. Thread-compatible.
class JsonFields {
 public:
  // `name`: of the object, for messages; may be empty.
  JsonFields(const nlohmann::json& object, std::string name);

  bool Has(const std::string& field) const;
  // A number, or one of the strings "NaN", "Infinity", "-Infinity".
  double Number(const std::string& field);
  // A whole number. One that uint32 cannot hold becomes its nearest bound, which the
  // checks of a rule refuse.
  uint32_t Count(const std::string& field);
  // A whole number in [least, most].
  int Integer(const std::string& field, int least, int most);
  std::string Text(const std::string& field);
  // null where there is none.
  const nlohmann::json& Object(const std::string& field);
  std::vector<double> Numbers(const std::string& field);

  // For what a caller finds wrong with a field.
  void Fail(const std::string& field, std::string_view what);
  // "policy.alpha: must be a number"; empty while nothing is wrong.
  const std::string& error() const { return error_; }

 private:
  const nlohmann::json* Find(const std::string& field);

  const nlohmann::json& object_;
  const std::string name_;
  std::string error_;
};

// True for a number as JsonFields::Number reads it.
bool ReadNumber(const nlohmann::json& value, double* number);

}  // namespace olmoe::client::notation

#endif  // OLMOE_CLIENT_NOTATION_JSON_FIELDS_H_
