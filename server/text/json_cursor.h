// Reads JSON of unknown origin: every mistake is an absl::Status that says where.
#ifndef OLMOE_SERVER_TEXT_JSON_CURSOR_H_
#define OLMOE_SERVER_TEXT_JSON_CURSOR_H_

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace olmoe::text {

// INVALID_ARGUMENT for malformed JSON (strings in ill-formed UTF-8 included) and
// for nesting deeper than 64, which no tokenizer.json needs.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view json);

// `text` in quotes, escaped and shortened, for a message of one line.
std::string Quoted(std::string_view text);

// A value inside a document and the path to it. The first mistake that any cursor
// of a document meets is kept in one Status; reading goes on with default values,
// so a caller checks once at the end. Thread-compatible; the document and the
// Status must outlive it.
class JsonCursor {
 public:
  JsonCursor(const nlohmann::json* value, std::string path, absl::Status* first_error)
      : value_(value), path_(std::move(path)), first_error_(first_error) {}

  bool ok() const { return first_error_->ok(); }
  void Fail(std::string_view message) const;

  // Absent and null are the same to every reader of tokenizer.json.
  bool IsNull() const { return value_->is_null(); }
  bool IsArray() const { return value_->is_array(); }
  bool IsString() const { return value_->is_string(); }

  // A field of an object.
  JsonCursor operator[](std::string_view key) const;
  // Fails for any field of an object that is not in `keys`, since ignoring a field
  // may mean other ids.
  void AllowOnly(std::initializer_list<std::string_view> keys) const;

  // Elements of an array; fields of an object. Both stop at the first mistake.
  void ForEach(const std::function<void(const JsonCursor&)>& visit) const;
  void ForEachField(
      const std::function<void(const std::string& key, const JsonCursor&)>& visit) const;

  std::string String() const;
  bool Bool(bool absent) const;
  // An integer from 0 to `limit` - 1.
  int32_t IntegerBelow(int32_t limit) const;

  // Fails unless the value is absent, null or `expected`.
  void ExpectFalse() const;
  void ExpectEmptyString() const;

 private:
  void FailType(std::string_view expected) const;

  const nlohmann::json* value_;
  std::string path_;
  absl::Status* first_error_;
};

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_JSON_CURSOR_H_
