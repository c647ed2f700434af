#ifndef OLMOE_SERVER_UTIL_JSON_CURSOR_H_
#define OLMOE_SERVER_UTIL_JSON_CURSOR_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "server/util/json_document.h"

namespace olmoe {

// A value inside a JsonDocument, asked for what is expected there. The first mistake that any
// cursor with one Status meets is kept in that Status, INVALID_ARGUMENT with the path to the
// value ("model.merges[3]: must be a string, is 7"); after it reading goes on with defaults,
// so that a caller checks once, at the end. A field that is absent has a cursor, too. Cheap to
// copy. Thread-compatible; the document, the Status and the names of fields that it was asked
// for must outlive it.
class JsonCursor {
 public:
  JsonCursor(const JsonDocument& document, absl::Status* first_error);
  // The same value with another Status, and with paths that start at it.
  JsonCursor WithStatus(absl::Status* first_error) const;
  JsonCursor AsRoot() const;

  bool ok() const { return first_error_->ok(); }
  void Fail(std::string_view message) const;
  // "model.merges[3]"; empty for the root.
  std::string Path() const;

  bool IsAbsent() const { return absent_.data() != nullptr; }
  bool IsNull() const { return kind() == JsonDocument::Kind::kNull; }  // absent, too
  bool IsNumber() const;
  bool IsString() const { return kind() == JsonDocument::Kind::kString; }
  bool IsArray() const { return kind() == JsonDocument::Kind::kArray; }
  bool IsObject() const { return kind() == JsonDocument::Kind::kObject; }
  // Elements or fields; 0 for what is neither an array nor an object.
  size_t size() const;

  // A field of an object.
  JsonCursor operator[](std::string_view field) const;
  // Fails for any field of an object that is not among `fields`.
  void AllowOnly(std::initializer_list<std::string_view> fields) const;

  // Elements of an array; fields of an object, in the order of the text. Both stop at the first
  // mistake.
  void ForEach(absl::FunctionRef<void(const JsonCursor&)> visit) const;
  void ForEachField(
      absl::FunctionRef<void(const std::string& name, const JsonCursor&)> visit) const;

  // Each fails, and returns "", false, `low` or 0, where the value is of another type or out of
  // its bounds.
  std::string String() const;
  bool Bool() const;
  bool BoolOr(bool absent) const { return IsNull() ? absent : Bool(); }
  // Whole numbers: written without fraction and exponent. Exact.
  int64_t Integer(int64_t low, int64_t high) const;
  uint64_t Unsigned(uint64_t low = 0, uint64_t high = std::numeric_limits<uint64_t>::max()) const;
  double Number() const;
  double Number(double low, double high) const;

  // The value for a message: one line, cut after 100 bytes.
  std::string Shown() const;

 private:
  using Node = JsonDocument::Node;

  JsonCursor(const JsonDocument::Tree* tree, uint32_t root, uint32_t node, std::string_view absent,
             absl::Status* first_error)
      : tree_(tree), root_(root), node_(node), absent_(absent), first_error_(first_error) {}

  JsonCursor At(uint32_t node) const { return {tree_, root_, node, {}, first_error_}; }
  const Node& node() const { return tree_->nodes[node_]; }
  JsonDocument::Kind kind() const { return IsAbsent() ? JsonDocument::Kind::kNull : node().kind; }
  void FailType(std::string_view expected) const;

  const JsonDocument::Tree* tree_;
  uint32_t root_;            // where paths start
  uint32_t node_;            // the value; the object around it where it is absent
  std::string_view absent_;  // the field that is absent; data() is null where the value is there
  absl::Status* first_error_;
};

// Parses `text`, gives the whole value to `read`, and returns the first mistake of the two.
absl::Status ReadJson(std::string_view text, const JsonLimits& limits,
                      absl::FunctionRef<void(const JsonCursor&)> read);

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_JSON_CURSOR_H_
