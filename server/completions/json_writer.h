#ifndef OLMOE_SERVER_COMPLETIONS_JSON_WRITER_H_
#define OLMOE_SERVER_COMPLETIONS_JSON_WRITER_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace olmoe::completions {

// Writes JSON as it comes, without a tree: replies can have megabytes of numbers. What is not
// well-formed UTF-8 becomes U+FFFD. The caller opens and closes in order. Thread-compatible.
class JsonWriter {
 public:
  JsonWriter& BeginObject();
  JsonWriter& EndObject();
  JsonWriter& BeginArray();
  JsonWriter& EndArray();
  JsonWriter& Key(std::string_view key);

  JsonWriter& String(std::string_view text);
  JsonWriter& Integer(int64_t value);
  // By the shortest text that a reader of doubles reads as exactly this float: equal floats have equal
  // texts, and sums of them are those of the floats. What is not finite, which JSON does not have, is
  // the nearest number that is.
  JsonWriter& Float(float value);
  JsonWriter& Bool(bool value);
  JsonWriter& Null();
  // A value that is JSON already; or, where it is not empty, several with commas.
  JsonWriter& Raw(std::string_view json);

  std::string Take();
  size_t size() const { return text_.size(); }

 private:
  void BeginValue();

  std::string text_;
  bool needs_comma_ = false;
};

}  // namespace olmoe::completions

#endif  // OLMOE_SERVER_COMPLETIONS_JSON_WRITER_H_
