#include "client/eval/corpus.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/notation/json_numbers.h"
#include "client/notation/text.h"

namespace olmoe::client::eval {
namespace {

constexpr std::string_view kSeparator = "<|endoftext|>";

void AddDocument(std::string_view document, std::vector<std::string>* documents) {
  constexpr std::string_view kLineEnds = "\r\n";
  const size_t first = document.find_first_not_of(kLineEnds);
  if (first == std::string_view::npos) return;
  const size_t last = document.find_last_not_of(kLineEnds);
  documents->emplace_back(document.substr(first, last + 1 - first));
}

// By its name, as other tools have it.
bool IsJsonLines(const std::string& path) {
  return absl::EndsWithIgnoreCase(path, ".jsonl") || absl::EndsWithIgnoreCase(path, ".ndjson");
}

void ReadQuestion(const JsonCursor& line, Question* question) {
  question->context = line["context"].String();
  const JsonCursor continuations = line["continuations"];
  continuations.ForEach([question](const JsonCursor& continuation) {
    question->continuations.push_back(continuation.String());
    if (question->continuations.back().empty()) continuation.Fail("must not be empty");
  });
  const size_t count = question->continuations.size();
  if (count < 2 || count > 256) {
    return continuations.Fail(absl::StrCat("must be 2..256 strings, has ", count));
  }
  question->label = line["label"].Unsigned(0, count - 1);
}

absl::Status ParseQuestion(std::string_view line, Question* question) {
  return ReadJson(line, notation::kJsonLimits,
                  [question](const JsonCursor& value) { ReadQuestion(value, question); });
}

// Questions under another name would be evaluated as plain text.
bool BeginsWithQuestion(std::string_view text) {
  std::string_view line;
  Question question;
  return notation::Lines(text).Next(&line) && ParseQuestion(line, &question).ok();
}

}  // namespace

std::vector<std::string> SplitDocuments(std::string_view text) {
  std::vector<std::string> documents;
  const char* start = text.data();
  notation::Lines lines(text);
  for (std::string_view line; lines.Next(&line);) {
    if (line != kSeparator) continue;
    AddDocument({start, static_cast<size_t>(line.data() - start)}, &documents);
    start = line.data() + line.size();
  }
  AddDocument({start, static_cast<size_t>(text.data() + text.size() - start)}, &documents);
  return documents;
}

std::vector<std::string> SplitLines(std::string_view text) {
  std::vector<std::string> documents;
  notation::Lines lines(text);
  for (std::string_view line; lines.Next(&line);) AddDocument(line, &documents);
  return documents;
}

absl::StatusOr<std::vector<Question>> ParseQuestions(std::string_view text) {
  std::vector<Question> questions;
  notation::Lines lines(text);
  for (std::string_view line; lines.Next(&line);) {
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    const absl::Status status = ParseQuestion(line, &questions.emplace_back());
    if (status.ok()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("line ", lines.number(), ": ", status.message()));
  }
  return questions;
}

absl::StatusOr<Corpus> ReadCorpus(const std::string& path, bool line_documents) {
  const auto invalid = [&path](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
  };
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return invalid("is a folder");
  std::ifstream file(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file.good() && !file.eof()) return invalid("cannot be read");
  if (const std::string bad = notation::CheckUtf8(text); !bad.empty()) return invalid(bad);
  Corpus corpus;
  corpus.name = std::filesystem::path(path).filename().string();
  corpus.is_choice = IsJsonLines(path) || BeginsWithQuestion(text);
  if (corpus.is_choice) {
    auto questions = ParseQuestions(text);
    if (!questions.ok()) return invalid(questions.status().message());
    corpus.questions = *std::move(questions);
  } else {
    corpus.documents = line_documents ? SplitLines(text) : SplitDocuments(text);
  }
  if (corpus.questions.empty() && corpus.documents.empty()) return invalid("holds nothing");
  return corpus;
}

}  // namespace olmoe::client::eval
