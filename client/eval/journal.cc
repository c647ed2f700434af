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
    {"tokens", &UnitResult::tokens},     {"greedy", &UnitResult::greedy},
    {"rows", &UnitResult::rows},         {"activations", &UnitResult::activations},
    {"correct", &UnitResult::correct},   {"correct_norm", &UnitResult::correct_norm},
    {"bytes", &UnitResult::bytes},       {"choice", &UnitResult::choice},
    {"analyzed", &UnitResult::analyzed}, {"analyzed_slots", &UnitResult::analyzed_slots},
    {"common", &UnitResult::common},     {"either", &UnitResult::either}};

struct NumberField {
  const char* name;
  double UnitResult::* member;
};
constexpr NumberField kNumbers[] = {{"nll", &UnitResult::nll}, {"seconds", &UnitResult::seconds}};

constexpr JsonLimits kLimits = {.max_depth = 2, .max_values = 1 << 20};
constexpr char kExperts[] = "experts";

// What a line says. A line of an older version lacks some of it, and then is of no use.
struct LineContent {
  std::string key;
  UnitResult result;
  bool has_all = true;
  bool has_experts = false;
};

bool ReadLine(std::string_view text, LineContent* content) {
  const auto read = [content](const JsonCursor& line) {
    content->key = line["key"].String();
    content->has_experts = !line[kExperts].IsAbsent();
    for (const NumberField& field : kNumbers) {
      content->result.*field.member = line[field.name].Number();
    }
    for (const CountField& field : kCounts) {
      const JsonCursor value = line[field.name];
      content->has_all = content->has_all && !value.IsAbsent();
      if (!value.IsAbsent()) content->result.*field.member = value.Unsigned();
    }
  };
  const UnitResult& result = content->result;
  return ReadJson(text, kLimits, read).ok() && result.tokens > 0 && result.rows > 0;
}

bool ReadExperts(std::string_view text, ExpertCounts* counts) {
  ExpertCounts read;
  const auto status = ReadJson(text, kLimits, [&read](const JsonCursor& line) {
    line[kExperts].ForEach([&read](const JsonCursor& value) { read.push_back(value.Unsigned()); });
  });
  if (!status.ok() || read.size() != counts->size()) return false;
  for (size_t i = 0; i < read.size(); ++i) (*counts)[i] += read[i];
  return true;
}

std::string FormatLine(const std::string& key, const std::string& data, const std::string& policy,
                       const UnitResult& result, const ExpertCounts& experts) {
  ordered_json line = {{"key", key}, {"data", data}, {"policy", policy}};
  for (const NumberField& field : kNumbers) line[field.name] = result.*field.member;
  for (const CountField& field : kCounts) line[field.name] = result.*field.member;
  if (!experts.empty()) line[kExperts] = experts;
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
    LineContent line;
    if (!ReadLine(std::string_view(text).substr(start, end - start), &line)) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ": line ", number, " is not of a journal of olmoectl eval"));
    }
    Entry entry{.result = line.result, .experts = {}};
    if (line.has_experts) entry.experts = {start, end - start};
    if (line.has_all) entries_[line.key] = entry;
    start = end + 1;
  }
  size_ = whole;
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
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second.result;
}

bool Journal::AddExpertsOf(const std::string& key, ExpertCounts* counts) const {
  const auto found = entries_.find(key);
  if (found == entries_.end() || found->second.experts.size == 0) return false;
  std::string line(found->second.experts.size, '\0');
  const ssize_t read =
      pread(fd_, line.data(), line.size(), static_cast<off_t>(found->second.experts.start));
  return read == static_cast<ssize_t>(line.size()) && ReadExperts(line, counts);
}

absl::Status Journal::Add(const std::string& key, const std::string& data,
                          const std::string& policy, const UnitResult& result,
                          const ExpertCounts& experts) {
  Entry& entry = entries_[key];
  entry = {.result = result, .experts = {}};
  if (fd_ < 0) return absl::OkStatus();
  const std::string line = FormatLine(key, data, policy, result, experts);
  const ssize_t written = write(fd_, line.data(), line.size());
  if (written != static_cast<ssize_t>(line.size())) return FileError(path_, "cannot be written");
  if (!experts.empty()) entry.experts = {size_, line.size() - 1};
  size_ += line.size();
  return absl::OkStatus();
}

}  // namespace olmoe::client::eval
