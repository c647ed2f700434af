#include "client/eval/corpus.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/notation/text.h"
#include "nlohmann/json.hpp"

namespace olmoe::client::eval {
namespace {

using nlohmann::json;

constexpr std::string_view kSeparator = "<|endoftext|>";

void AddDocument(std::string_view document, std::vector<std::string>* documents) {
  constexpr std::string_view kLineEnds = "\r\n";
  const size_t first = document.find_first_not_of(kLineEnds);
  if (first == std::string_view::npos) return;
  const size_t last = document.find_last_not_of(kLineEnds);
  documents->emplace_back(document.substr(first, last + 1 - first));
}

// Empty where the line is a question.
std::string ReadQuestion(std::string_view line, Question* question) {
  const json value = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) return "must be a JSON object";
  const json context = value.value("context", json());
  const json continuations = value.value("continuations", json());
  const json label = value.value("label", json());
  if (!context.is_string()) return "context must be a string";
  if (!continuations.is_array() || continuations.size() < 2 || continuations.size() > 256) {
    return "continuations must be 2..256 strings";
  }
  question->context = context.get<std::string>();
  for (const json& continuation : continuations) {
    if (!continuation.is_string() || continuation.get<std::string>().empty()) {
      return "continuations must be strings that are not empty";
    }
    question->continuations.push_back(continuation.get<std::string>());
  }
  if (!label.is_number_unsigned() || label.get<uint64_t>() >= continuations.size()) {
    return "label must be the index of a continuation";
  }
  question->label = label.get<size_t>();
  return "";
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
    const std::string what = ReadQuestion(line, &questions.emplace_back());
    if (what.empty()) continue;
    return absl::InvalidArgumentError(absl::StrCat("line ", lines.number(), ": ", what));
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
  corpus.is_choice = absl::EndsWith(path, ".jsonl");
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
