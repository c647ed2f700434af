#include "server/util/json_cursor.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/str_cat.h"
#include "server/util/file_errors.h"

namespace olmoe {
namespace {

using Kind = JsonDocument::Kind;
using Node = JsonDocument::Node;
using Tree = JsonDocument::Tree;

constexpr size_t kMaxShownBytes = 100;

absl::string_view Abseil(std::string_view text) { return {text.data(), text.size()}; }

// The shortest text that reads as the same double, and not as an integer.
std::string DoubleText(double number) {
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, number);
  const std::string_view shortest(text, static_cast<size_t>(end - text));
  const bool reads_as_integer = shortest.find_first_of(".e") == shortest.npos;
  return absl::StrCat(Abseil(shortest), reads_as_integer ? ".0" : "");
}

// Appends the value at `node`, or about as much of it as is shown; the depth is bounded, as the
// document's is.
void AppendShown(const Tree& tree, uint32_t node, std::string* out) {
  const Node& value = tree.nodes[node];
  switch (value.kind) {
    case Kind::kNull: *out += "null"; return;
    case Kind::kBool: *out += value.boolean ? "true" : "false"; return;
    case Kind::kUnsigned: absl::StrAppend(out, value.unsigned_integer); return;
    case Kind::kNegative: absl::StrAppend(out, value.negative_integer); return;
    case Kind::kDouble: *out += DoubleText(value.number); return;
    case Kind::kString: *out += Quoted(tree.TextOf(node)); return;
    case Kind::kArray:
    case Kind::kObject: break;
  }
  const bool is_object = value.kind == Kind::kObject;
  *out += is_object ? '{' : '[';
  uint32_t inner = node + 1;
  for (uint32_t i = 0; i < value.size && out->size() <= kMaxShownBytes; ++i) {
    if (i > 0) *out += ',';
    if (is_object) absl::StrAppend(out, Quoted(tree.TextOf(inner++)), ":");
    AppendShown(tree, inner, out);
    inner = tree.Behind(inner);
  }
  *out += is_object ? '}' : ']';
}

}  // namespace

JsonCursor::JsonCursor(const JsonDocument& document, absl::Status* first_error)
    : JsonCursor(&document.tree(), 0, 0, {}, first_error) {}

JsonCursor JsonCursor::WithStatus(absl::Status* first_error) const {
  return JsonCursor(tree_, root_, node_, absent_, first_error);
}

JsonCursor JsonCursor::AsRoot() const {
  return JsonCursor(tree_, node_, node_, absent_, first_error_);
}

std::string JsonCursor::Path() const {
  std::string path = tree_->Path(root_, node_);
  if (IsAbsent()) absl::StrAppend(&path, path.empty() ? "" : ".", Printable(absent_));
  return path;
}

void JsonCursor::Fail(std::string_view message) const {
  if (!ok()) return;
  const std::string path = Path();
  *first_error_ =
      absl::InvalidArgumentError(absl::StrCat(path, path.empty() ? "" : ": ", Abseil(message)));
}

void JsonCursor::FailType(std::string_view expected) const {
  const std::string must_be = absl::StrCat("must be ", Abseil(expected));
  Fail(IsAbsent() ? absl::StrCat("is missing, ", must_be)
                  : absl::StrCat(must_be, ", is ", Shown()));
}

std::string JsonCursor::Shown() const {
  if (IsAbsent()) return "missing";
  std::string text;
  AppendShown(*tree_, node_, &text);
  if (text.size() <= kMaxShownBytes) return text;
  return absl::StrCat(text.substr(0, kMaxShownBytes), "...");
}

bool JsonCursor::IsNumber() const {
  return kind() == Kind::kUnsigned || kind() == Kind::kNegative || kind() == Kind::kDouble;
}

size_t JsonCursor::size() const { return IsArray() || IsObject() ? node().size : 0; }

JsonCursor JsonCursor::operator[](std::string_view field) const {
  if (!IsObject()) {
    FailType("an object");
  } else {
    uint32_t key = node_ + 1;
    for (uint32_t i = 0; i < node().size; ++i, key = tree_->Behind(key + 1)) {
      if (tree_->TextOf(key) == field) return At(key + 1);
    }
  }
  return JsonCursor(tree_, root_, node_, field, first_error_);
}

void JsonCursor::AllowOnly(std::initializer_list<std::string_view> fields) const {
  ForEachField([&](const std::string& name, const JsonCursor&) {
    if (std::find(fields.begin(), fields.end(), name) == fields.end()) {
      Fail(absl::StrCat("field ", Quoted(name), " is not supported"));
    }
  });
}

void JsonCursor::ForEach(absl::FunctionRef<void(const JsonCursor&)> visit) const {
  if (!IsArray()) return FailType("an array");
  uint32_t element = node_ + 1;
  for (uint32_t i = 0; i < node().size && ok(); ++i, element = tree_->Behind(element)) {
    visit(At(element));
  }
}

void JsonCursor::ForEachField(
    absl::FunctionRef<void(const std::string& name, const JsonCursor&)> visit) const {
  if (!IsObject()) return FailType("an object");
  uint32_t key = node_ + 1;
  for (uint32_t i = 0; i < node().size && ok(); ++i, key = tree_->Behind(key + 1)) {
    visit(std::string(tree_->TextOf(key)), At(key + 1));
  }
}

std::string JsonCursor::String() const {
  if (IsString()) return std::string(tree_->TextOf(node_));
  FailType("a string");
  return "";
}

bool JsonCursor::Bool() const {
  if (kind() == Kind::kBool) return node().boolean;
  FailType("true or false");
  return false;
}

int64_t JsonCursor::Integer(int64_t low, int64_t high) const {
  const bool fits = kind() == Kind::kNegative ||
                    (kind() == Kind::kUnsigned && node().unsigned_integer <= uint64_t{INT64_MAX});
  if (fits) {
    const int64_t integer = kind() == Kind::kNegative
                                ? node().negative_integer
                                : static_cast<int64_t>(node().unsigned_integer);
    if (integer >= low && integer <= high) return integer;
  }
  FailType(absl::StrCat("an integer from ", low, " to ", high));
  return low;
}

uint64_t JsonCursor::Unsigned(uint64_t low, uint64_t high) const {
  if (kind() == Kind::kUnsigned && node().unsigned_integer >= low &&
      node().unsigned_integer <= high) {
    return node().unsigned_integer;
  }
  FailType(absl::StrCat("an integer from ", low, " to ", high));
  return low;
}

double JsonCursor::Number() const {
  switch (kind()) {
    case Kind::kUnsigned: return static_cast<double>(node().unsigned_integer);
    case Kind::kNegative: return static_cast<double>(node().negative_integer);
    case Kind::kDouble: return node().number;
    default: FailType("a number"); return 0;
  }
}

double JsonCursor::Number(double low, double high) const {
  if (IsNumber() && Number() >= low && Number() <= high) return Number();
  FailType(absl::StrCat("a number from ", low, " to ", high));
  return low;
}

absl::Status ReadJson(std::string_view text, const JsonLimits& limits,
                      absl::FunctionRef<void(const JsonCursor&)> read) {
  const absl::StatusOr<JsonDocument> document = JsonDocument::Parse(text, limits);
  if (!document.ok()) return document.status();
  absl::Status first_error;
  read(JsonCursor(*document, &first_error));
  return first_error;
}

}  // namespace olmoe
