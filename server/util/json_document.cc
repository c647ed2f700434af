#include "server/util/json_document.h"

#include <array>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "nlohmann/json.hpp"
#include "server/util/file_errors.h"

namespace olmoe {
namespace {

using Kind = JsonDocument::Kind;
using Node = JsonDocument::Node;
using Tree = JsonDocument::Tree;

// The library's lexer holds a token, and the message about it, several times over.
constexpr size_t kMaxTokenBytes = 1 << 20;
constexpr size_t kMaxPathBytes = 160;

static_assert(sizeof(Node) == 16);

constexpr std::array<bool, 256> kBreaks = [] {
  std::array<bool, 256> breaks = {};
  for (const char c : {' ', '\t', '\r', '\n', '[', ']', '{', '}', ':', ',', '"'}) {
    breaks[static_cast<uint8_t>(c)] = true;
  }
  return breaks;
}();

// Where a string, or a run of text outside of strings without any of []{}:, and white space,
// is longer than kMaxTokenBytes; npos where none is. Needs no valid JSON.
size_t FindLongToken(std::string_view text) {
  size_t start = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c != '"') continue;
    } else if (!kBreaks[static_cast<uint8_t>(c)]) {
      continue;
    }
    if (i - start > kMaxTokenBytes) return start;
    start = i;
    if (c == '"') in_string = !in_string;
  }
  return text.size() - start > kMaxTokenBytes ? start : std::string_view::npos;
}

bool IsPlainName(std::string_view key) {
  if (key.empty()) return false;
  for (const char c : key) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_') return false;
  }
  return true;
}

void AppendKey(std::string_view key, std::string* path) {
  if (!IsPlainName(key)) {
    absl::StrAppend(path, "[", Quoted(key), "]");
  } else {
    absl::StrAppend(path, path->empty() ? "" : ".", Printable(key));
  }
}

// The library's events, which become a tree. Each event returns false to stop, after Fail().
// Thread-compatible.
class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit TreeBuilder(const JsonLimits& limits) : limits_(limits) {}

  const std::string& error() const { return error_; }
  std::unique_ptr<const Tree> TakeTree() { return std::move(tree_); }

  bool null() override { return AddValue({}); }
  bool boolean(bool value) override { return AddValue({.kind = Kind::kBool, .boolean = value}); }
  bool number_integer(number_integer_t value) override {
    // "-0" comes here, too.
    if (value >= 0) return number_unsigned(static_cast<uint64_t>(value));
    return AddValue({.kind = Kind::kNegative, .negative_integer = value});
  }
  bool number_unsigned(number_unsigned_t value) override {
    return AddValue({.kind = Kind::kUnsigned, .unsigned_integer = value});
  }
  bool number_float(number_float_t value, const string_t&) override {
    return AddValue({.kind = Kind::kDouble, .number = value});
  }
  bool string(string_t& value) override { return AddValue(TextNode(value)); }
  bool binary(binary_t&) override { return Fail("binary data"); }  // not in JSON

  bool start_object(size_t) override { return Open(Kind::kObject); }
  bool key(string_t& key) override {
    tree_->nodes.push_back(TextNode(key));
    ++tree_->nodes[open_.back()].size;
    return true;
  }
  bool end_object() override { return CheckKeys() && Close(); }
  bool start_array(size_t) override { return Open(Kind::kArray); }
  bool end_array() override { return Close(); }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    // The library's message quotes the offending token, which may be of any length.
    error_ = absl::StrCat("not JSON at byte ", position);
    return false;
  }

 private:
  // Says where: in which array or object.
  bool Fail(const std::string& what) {
    const std::string path = open_.empty() ? "" : tree_->Path(0, open_.back());
    error_ = absl::StrCat(path, path.empty() ? "" : ": ", what);
    return false;
  }

  bool AddValue(Node node) {
    if (++values_ > limits_.max_values) {
      return Fail(absl::StrCat("more than ", limits_.max_values, " values"));
    }
    tree_->nodes.push_back(node);
    if (!open_.empty() && tree_->nodes[open_.back()].kind == Kind::kArray) {
      ++tree_->nodes[open_.back()].size;
    }
    return true;
  }

  Node TextNode(const std::string& text) {
    const Node node = {.kind = Kind::kString,
                       .size = static_cast<uint32_t>(text.size()),
                       .text = tree_->text.size()};
    tree_->text += text;
    return node;
  }

  bool Open(Kind kind) {
    if (open_.size() >= static_cast<size_t>(limits_.max_depth)) {
      return Fail(absl::StrCat("nested deeper than ", limits_.max_depth));
    }
    if (!AddValue({.kind = kind, .end = 0})) return false;
    open_.push_back(static_cast<uint32_t>(tree_->nodes.size() - 1));
    return true;
  }

  bool Close() {
    tree_->nodes[open_.back()].end = tree_->nodes.size();
    open_.pop_back();
    return true;
  }

  // That the object which now ends has no key twice.
  bool CheckKeys() {
    const uint32_t fields = tree_->nodes[open_.back()].size;
    absl::flat_hash_set<std::string_view> keys;
    keys.reserve(fields);
    uint32_t key = open_.back() + 1;
    for (uint32_t field = 0; field < fields; ++field) {
      const std::string_view text = tree_->TextOf(key);
      if (!keys.insert(text).second) return Fail(absl::StrCat("duplicate key ", Quoted(text)));
      key = tree_->Behind(key + 1);
    }
    return true;
  }

  const JsonLimits limits_;
  std::unique_ptr<Tree> tree_ = std::make_unique<Tree>();
  std::vector<uint32_t> open_;  // arrays and objects whose end has not come, outermost first
  uint32_t values_ = 0;
  std::string error_;
};

}  // namespace

std::string_view Tree::TextOf(uint32_t node) const {
  return std::string_view(text).substr(nodes[node].text, nodes[node].size);
}

uint32_t Tree::Behind(uint32_t node) const {
  const bool is_leaf = nodes[node].kind != Kind::kArray && nodes[node].kind != Kind::kObject;
  if (is_leaf) return node + 1;
  const bool is_open = nodes[node].end == 0;
  return static_cast<uint32_t>(is_open ? nodes.size() : nodes[node].end);
}

std::string Tree::Path(uint32_t root, uint32_t node) const {
  std::string path;
  for (uint32_t outer = root; outer != node;) {
    const bool is_object = nodes[outer].kind == Kind::kObject;
    uint32_t inner = outer + 1;
    size_t place = 0;
    for (; Behind(inner + is_object) <= node; ++place) inner = Behind(inner + is_object);
    if (is_object) {
      AppendKey(TextOf(inner), &path);
    } else {
      absl::StrAppend(&path, "[", place, "]");
    }
    outer = inner + is_object;
  }
  if (path.size() <= kMaxPathBytes) return path;
  return absl::StrCat("...", path.substr(path.size() - kMaxPathBytes));
}

JsonDocument::JsonDocument(std::unique_ptr<const Tree> tree) : tree_(std::move(tree)) {}

absl::StatusOr<JsonDocument> JsonDocument::Parse(std::string_view text, const JsonLimits& limits) {
  // The library's lexer takes a NUL for the end of the text and would ignore the rest.
  const size_t nul = text.find('\0');
  if (nul != text.npos) {
    return absl::InvalidArgumentError(absl::StrCat("not JSON at byte ", nul, ": NUL"));
  }
  const size_t long_token = FindLongToken(text);
  if (long_token != text.npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("more than ", kMaxTokenBytes, " bytes without a break at byte ", long_token));
  }
  CHECK_LE(limits.max_values, 1u << 30);  // nodes have numbers of 32 bits
  TreeBuilder builder(limits);
  nlohmann::json_sax<nlohmann::json>* events = &builder;
  if (!nlohmann::json::sax_parse(text, events)) {
    return absl::InvalidArgumentError(builder.error());
  }
  return JsonDocument(builder.TakeTree());
}

}  // namespace olmoe
