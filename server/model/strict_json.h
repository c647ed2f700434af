// JSON from files that may be hostile: nothing is stored by the parser itself, depth
// and number of values are bounded, and anything a handler does not expect is an error.
#ifndef OLMOE_SERVER_MODEL_STRICT_JSON_H_
#define OLMOE_SERVER_MODEL_STRICT_JSON_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace olmoe::model {

// Base of the handlers. It refuses every value; a handler overrides the events of
// its own format. Each event returns false to stop, after Fail(). Thread-compatible.
class StrictJsonHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  struct Limits {
    int max_depth = 8;
    size_t max_values = 0;  // numbers, strings, objects... in the whole text
  };

  explicit StrictJsonHandler(Limits limits) : limits_(limits) {}

  // What went wrong first; empty while nothing has.
  const std::string& error() const { return error_; }

 protected:
  // Values, by kind. The default refuses. `depth` is the number of open objects and
  // arrays around the value or the key.
  virtual bool OnNull() { return Unexpected("null"); }
  virtual bool OnBool(bool value) { return Unexpected("a boolean"); }
  virtual bool OnUnsigned(uint64_t value) { return Unexpected("a number"); }
  // Negative integers, fractions and integers beyond 64 bits.
  virtual bool OnOtherNumber(double value) { return Unexpected("a number"); }
  virtual bool OnString(std::string& value) { return Unexpected("a string"); }
  virtual bool OnStartObject() { return Unexpected("an object"); }
  virtual bool OnEndObject() { return true; }
  virtual bool OnStartArray() { return Unexpected("an array"); }
  virtual bool OnEndArray() { return true; }
  virtual bool OnKey(std::string& key) { return true; }
  // Where the parser is, for messages: "tensor a.b: shape".
  virtual std::string Where() const { return ""; }

  int depth() const { return depth_; }
  // Records "<Where()>: <what>" and returns false.
  bool Fail(std::string_view what);
  bool Unexpected(std::string_view kind);

 private:
  // nlohmann::json_sax.
  bool null() final { return CountValue() && OnNull(); }
  bool boolean(bool value) final { return CountValue() && OnBool(value); }
  bool number_integer(number_integer_t value) final {
    return CountValue() && OnOtherNumber(static_cast<double>(value));
  }
  bool number_unsigned(number_unsigned_t value) final { return CountValue() && OnUnsigned(value); }
  bool number_float(number_float_t value, const string_t&) final {
    return CountValue() && OnOtherNumber(value);
  }
  bool string(string_t& value) final { return CountValue() && OnString(value); }
  bool binary(binary_t&) final { return Unexpected("binary data"); }
  bool start_object(size_t) final;
  bool key(string_t& key) final { return OnKey(key); }
  bool end_object() final;
  bool start_array(size_t) final;
  bool end_array() final;
  bool parse_error(size_t position, const std::string& last_token,
                   const nlohmann::detail::exception& error) final;

  bool CountValue();
  bool Enter();

  const Limits limits_;
  int depth_ = 0;
  size_t values_ = 0;
  std::string error_;
};

// Runs `handler` over the whole text. INVALID_ARGUMENT with the handler's error, or
// with the place where the text stops being JSON, or where one string or number is longer
// than 1 MiB. Takes little memory beside that of the handler.
absl::Status ParseStrictJson(std::string_view text, StrictJsonHandler* handler);

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_STRICT_JSON_H_
