#include "server/routing/field_checks.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace olmoe::routing {
namespace {

bool IsLowerAlphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// A letter or digit, then letters, digits and `others`.
bool IsName(std::string_view value, size_t max_bytes, std::string_view others) {
  if (value.empty() || value.size() > max_bytes || !IsLowerAlphanumeric(value[0])) return false;
  return std::all_of(value.begin(), value.end(), [others](char c) {
    return IsLowerAlphanumeric(c) || others.find(c) != std::string_view::npos;
  });
}

}  // namespace

std::string FieldPath(std::string_view prefix, std::string_view name) {
  std::string path(prefix);
  if (!path.empty()) path += '.';
  path += name;
  return path;
}

std::string FieldPath(std::string_view prefix, std::string_view name, size_t index) {
  return absl::StrCat(FieldPath(prefix, name), "[", index, "]");
}

void CheckName(std::string_view value, std::string field, std::vector<FieldViolation>* violations) {
  if (IsName(value, 32, "-")) return;
  violations->push_back({std::move(field), "must match [a-z0-9][a-z0-9-]{0,31}"});
}

void CheckLongName(std::string_view value, std::string field,
                   std::vector<FieldViolation>* violations) {
  if (IsName(value, 64, "._-")) return;
  violations->push_back({std::move(field), "must match [a-z0-9][a-z0-9._-]{0,63}"});
}

void CheckText(std::string_view value, std::string field, std::vector<FieldViolation>* violations) {
  if (value.size() <= kMaxTextBytes) return;
  violations->push_back({std::move(field), absl::StrCat("must have at most ", kMaxTextBytes,
                                                        " bytes, has ", value.size())});
}

}  // namespace olmoe::routing
