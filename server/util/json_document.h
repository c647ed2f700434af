#ifndef OLMOE_SERVER_UTIL_JSON_DOCUMENT_H_
#define OLMOE_SERVER_UTIL_JSON_DOCUMENT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace olmoe {

struct JsonLimits {
  int max_depth;  // objects and arrays inside one another
  // Numbers, strings, objects... in the whole text; keys do not count. At most 2^30.
  uint32_t max_values;
};

// A JSON text, checked and taken apart. The one reader of JSON in the project: of files and of
// requests, which may be hostile. It is strict: one value and nothing behind it, well-formed
// UTF-8, no key twice in an object, no number beyond the range of a double, no NUL, no string
// or number longer than 1 MiB. It takes 16 bytes a value or key beside the bytes of the
// strings. A JsonCursor reads it. Immutable; thread-safe.
class JsonDocument {
 public:
  // INVALID_ARGUMENT with the place: the byte where the text stops being JSON, or the path of
  // what is over a limit or there twice.
  static absl::StatusOr<JsonDocument> Parse(std::string_view text, const JsonLimits& limits);

  // What follows is for JsonCursor.
  enum class Kind : uint8_t {
    kNull,
    kBool,
    kUnsigned,  // an integer from 0 to 2^64 - 1
    kNegative,  // an integer from -2^63 to -1
    kDouble,    // any other number
    kString,
    kArray,
    kObject,
  };

  // A value or a key. Behind an array or object stands what is in it; in an object each value
  // stands behind its key.
  struct Node {
    Kind kind = Kind::kNull;
    uint32_t size = 0;  // bytes of a string or key, elements of an array, fields of an object
    union {
      bool boolean;
      uint64_t unsigned_integer = 0;
      int64_t negative_integer;
      double number;
      uint64_t text;  // where the string or key starts in Tree::text
      uint64_t end;   // the node behind the last one in this array or object; 0: not read yet
    };
  };

  struct Tree {
    std::vector<Node> nodes;  // the first one is the root
    std::string text;         // strings and keys, one behind the other

    std::string_view TextOf(uint32_t node) const;
    // The node behind a value and all that is in it.
    uint32_t Behind(uint32_t node) const;
    // "model.merges[3]"; empty where `node` is `root`. Short, whatever the keys.
    std::string Path(uint32_t root, uint32_t node) const;
  };

  const Tree& tree() const { return *tree_; }

 private:
  explicit JsonDocument(std::unique_ptr<const Tree> tree);

  std::unique_ptr<const Tree> tree_;
};

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_JSON_DOCUMENT_H_
