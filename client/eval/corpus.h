// What `olmoectl eval` reads: texts, or multiple-choice questions.
#ifndef OLMOE_CLIENT_EVAL_CORPUS_H_
#define OLMOE_CLIENT_EVAL_CORPUS_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace olmoe::client::eval {

struct Question {
  std::string context;
  std::vector<std::string> continuations;
  size_t label = 0;  // index of the right one
};

// One file: questions of a .jsonl, otherwise documents.
struct Corpus {
  std::string name;  // of the file, without its folder
  std::vector<std::string> documents;
  std::vector<Question> questions;
  bool is_choice = false;
};

// Documents are separated by a line "<|endoftext|>"; a file without one is one
// document. Line ends around them are not part of them; empty ones are left out.
std::vector<std::string> SplitDocuments(std::string_view text);

// Each line that is not empty is a document.
std::vector<std::string> SplitLines(std::string_view text);

// One {context, continuations, label} a line. INVALID_ARGUMENT names the line.
absl::StatusOr<std::vector<Question>> ParseQuestions(std::string_view text);

// `line_documents`: SplitLines. Errors: INVALID_ARGUMENT naming the file: one that cannot
// be read, is not UTF-8, or holds nothing.
absl::StatusOr<Corpus> ReadCorpus(const std::string& path, bool line_documents);

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_CORPUS_H_
