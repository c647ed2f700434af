#include "server/text/json_cursor.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace olmoe::text {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 64;
constexpr size_t kMaxQuotedBytes = 60;

absl::string_view Abseil(std::string_view text) { return {text.data(), text.size()}; }

// Counted before parsing, so that no depth reaches the parser.
bool IsTooDeep(std::string_view json) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view json) {
  if (IsTooDeep(json)) {
    return absl::InvalidArgumentError(absl::StrCat("JSON nested deeper than ", kMaxDepth));
  }
  try {
    return Json::parse(json.begin(), json.end());
  } catch (const Json::parse_error& error) {
    return absl::InvalidArgumentError(absl::StrCat("malformed JSON at byte ", error.byte));
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("malformed JSON: ", error.what()));
  }
}

std::string Quoted(std::string_view text) {
  const bool cut = text.size() > kMaxQuotedBytes;
  return absl::StrCat("\"", absl::CHexEscape(Abseil(text.substr(0, kMaxQuotedBytes))),
                      cut ? "..." : "", "\"");
}

void JsonCursor::Fail(std::string_view message) const {
  if (!ok()) return;
  const std::string where = path_.empty() ? "top level" : path_;
  *first_error_ = absl::InvalidArgumentError(absl::StrCat(where, ": ", Abseil(message)));
}

void JsonCursor::FailType(std::string_view expected) const {
  Fail(absl::StrCat("must be ", Abseil(expected), ", is ", value_->type_name()));
}

JsonCursor JsonCursor::operator[](std::string_view key) const {
  static const Json* const null = new Json;
  const std::string path = absl::StrCat(path_, path_.empty() ? "" : ".", Abseil(key));
  if (!value_->is_object()) {
    FailType("an object");
    return JsonCursor(null, path, first_error_);
  }
  const auto found = value_->find(std::string(key));
  return JsonCursor(found == value_->end() ? null : &*found, path, first_error_);
}

void JsonCursor::AllowOnly(std::initializer_list<std::string_view> keys) const {
  ForEachField([&](const std::string& key, const JsonCursor&) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      Fail(absl::StrCat("field ", Quoted(key), " is not supported"));
    }
  });
}

void JsonCursor::ForEach(const std::function<void(const JsonCursor&)>& visit) const {
  if (!value_->is_array()) return FailType("an array");
  for (size_t i = 0; i < value_->size() && ok(); ++i) {
    visit(JsonCursor(&(*value_)[i], absl::StrCat(path_, "[", i, "]"), first_error_));
  }
}

void JsonCursor::ForEachField(
    const std::function<void(const std::string& key, const JsonCursor&)>& visit) const {
  if (!value_->is_object()) return FailType("an object");
  for (auto field = value_->begin(); field != value_->end() && ok(); ++field) {
    const std::string path = absl::StrCat(path_, "[", Quoted(field.key()), "]");
    visit(field.key(), JsonCursor(&field.value(), path, first_error_));
  }
}

std::string JsonCursor::String() const {
  if (value_->is_string()) return value_->get<std::string>();
  FailType("a string");
  return "";
}

bool JsonCursor::Bool(bool absent) const {
  if (value_->is_boolean()) return value_->get<bool>();
  if (!IsNull()) FailType("a boolean");
  return absent;
}

int32_t JsonCursor::IntegerBelow(int32_t limit) const {
  if (!value_->is_number_integer()) {
    FailType("an integer");
    return 0;
  }
  // Negative integers are beyond any limit as unsigned ones.
  const uint64_t integer = value_->get<uint64_t>();
  if (integer < static_cast<uint64_t>(limit)) return static_cast<int32_t>(integer);
  Fail(absl::StrCat("must be from 0 to ", limit - 1, ", is ", value_->dump()));
  return 0;
}

void JsonCursor::ExpectFalse() const {
  if (Bool(false)) Fail("true is not supported");
}

void JsonCursor::ExpectEmptyString() const {
  if (!IsNull() && !String().empty()) Fail(absl::StrCat(Quoted(String()), " is not supported"));
}

}  // namespace olmoe::text
