#include "server/util/file_errors.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace olmoe {

std::string Printable(std::string_view text) {
  constexpr size_t kMaxBytes = 80;
  const std::string shown =
      absl::CHexEscape(absl::string_view(text.data(), std::min(text.size(), kMaxBytes)));
  return text.size() <= kMaxBytes ? shown : absl::StrCat(shown, "...");
}

std::string Quoted(std::string_view text) { return absl::StrCat("\"", Printable(text), "\""); }

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

std::string ListText(const std::vector<std::string>& names) {
  constexpr size_t kShown = 4;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : ", ", Printable(names[i]));
  }
  if (names.size() > kShown) absl::StrAppend(&text, " and ", names.size() - kShown, " more");
  return text;
}

absl::Status WithPath(std::string_view path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(std::string(path), ": ", status.message()));
}

absl::Status InvalidFile(std::string_view path, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(path), ": ", std::string(what)));
}

absl::Status InvalidTensor(std::string_view path, std::string_view tensor, std::string_view what) {
  return InvalidFile(path, absl::StrCat("tensor ", Printable(tensor), ": ", std::string(what)));
}

}  // namespace olmoe
