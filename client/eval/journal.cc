#include "client/eval/journal.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string_view>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/util/json_cursor.h"

namespace olmoe::client::eval {
namespace {

using nlohmann::ordered_json;

struct CountField {
  const char* name;
  uint64_t UnitResult::* member;
};
constexpr CountField kCounts[] = {
    {"tokens", &UnitResult::tokens},   {"greedy", &UnitResult::greedy},
    {"rows", &UnitResult::rows},       {"activations", &UnitResult::activations},
    {"correct", &UnitResult::correct}, {"correct_norm", &UnitResult::correct_norm}};

struct NumberField {
  const char* name;
  double UnitResult::* member;
};
constexpr NumberField kNumbers[] = {{"nll", &UnitResult::nll}, {"seconds", &UnitResult::seconds}};

bool ReadLine(std::string_view text, std::string* key, UnitResult* result) {
  constexpr JsonLimits kLimits = {.max_depth = 1, .max_values = 100};
  const auto read = [&](const JsonCursor& line) {
    *key = line["key"].String();
    for (const CountField& field : kCounts) result->*field.member = line[field.name].Unsigned();
    for (const NumberField& field : kNumbers) result->*field.member = line[field.name].Number();
  };
  return ReadJson(text, kLimits, read).ok() && result->tokens > 0 && result->rows > 0;
}

std::string FormatLine(const std::string& key, const std::string& data, const std::string& policy,
                       const UnitResult& result) {
  ordered_json line = {{"key", key}, {"data", data}, {"policy", policy}};
  for (const NumberField& field : kNumbers) line[field.name] = result.*field.member;
  for (const CountField& field : kCounts) line[field.name] = result.*field.member;
  return line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

absl::Status FileError(const std::string& path, const char* what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what, ": ", std::strerror(errno)));
}

}  // namespace

Journal::~Journal() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(const std::string& path) {
  auto journal = std::make_unique<Journal>();
  journal->path_ = path;
  journal->fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (journal->fd_ < 0) return FileError(path, "cannot be opened");
  if (flock(journal->fd_, LOCK_EX | LOCK_NB) != 0) {
    return FileError(path, "another process uses it");
  }
  if (auto status = journal->Load(); !status.ok()) return status;
  return journal;
}

absl::Status Journal::Load() {
  std::ifstream file(path_, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file.good() && !file.eof()) return FileError(path_, "cannot be read");
  const size_t whole = text.rfind('\n') + 1;  // npos + 1 = 0
  size_t number = 0;
  for (size_t start = 0; start < whole;) {
    const size_t end = text.find('\n', start);
    ++number;
    std::string key;
    UnitResult result;
    if (!ReadLine(std::string_view(text).substr(start, end - start), &key, &result)) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ": line ", number, " is not of a journal of olmoectl eval"));
    }
    results_[key] = result;
    start = end + 1;
  }
  const bool has_tail = whole < text.size();
  // A file of one unfinished line may be something else altogether.
  constexpr std::string_view kStart = "{\"key\":\"";
  if (has_tail && whole == 0 && !kStart.starts_with(text.substr(0, kStart.size()))) {
    return absl::InvalidArgumentError(absl::StrCat(path_, " is not a journal of olmoectl eval"));
  }
  if (has_tail && ftruncate(fd_, static_cast<off_t>(whole)) != 0) {
    return FileError(path_, "cannot be written");
  }
  return absl::OkStatus();
}

const UnitResult* Journal::Find(const std::string& key) const {
  const auto found = results_.find(key);
  return found == results_.end() ? nullptr : &found->second;
}

absl::Status Journal::Add(const std::string& key, const std::string& data,
                          const std::string& policy, const UnitResult& result) {
  results_[key] = result;
  if (fd_ < 0) return absl::OkStatus();
  const std::string line = FormatLine(key, data, policy, result);
  const ssize_t written = write(fd_, line.data(), line.size());
  if (written == static_cast<ssize_t>(line.size())) return absl::OkStatus();
  return FileError(path_, "cannot be written");
}

}  // namespace olmoe::client::eval
