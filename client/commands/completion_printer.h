#ifndef OLMOE_CLIENT_COMMANDS_COMPLETION_PRINTER_H_
#define OLMOE_CLIENT_COMMANDS_COMPLETION_PRINTER_H_

#include <cstdint>
#include <map>
#include <string>

#include "client/commands/session.h"
#include "client/render/progress.h"
#include "client/render/table.h"
#include "google/protobuf/repeated_field.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::commands {

// Writes what a GenerateStream answers, for people. The first completion is written as it comes, the
// others at the end; where there was no text at all, as from a model without a tokenizer, the ids
// are. Tables of tokens follow, where they were asked for. Thread-compatible.
class CompletionPrinter {
 public:
  // `session` outlives it.
  CompletionPrinter(Session& session, const v1::GenerateRequest& request);

  // False where nobody reads any more.
  bool OnEvent(const v1::GenerateStreamResponse& event);
  // Ends the line that a failure left unfinished.
  void Abandon();
  void Finish();

 private:
  struct Choice {
    Choice();

    std::string text;  // empty for the first: it is written already
    google::protobuf::RepeatedField<uint32_t> ids;
    render::Table tokens;
    bool has_text = false;
  };

  void Print(const std::string& text);

  Session& session_;
  const uint64_t max_tokens_;  // of all completions
  render::Progress progress_;
  render::Table prompt_tokens_;
  std::map<uint32_t, Choice> choices_;  // the first, and others that have begun
  int num_tokens_ = 0;
  v1::GenerateResponse done_;
};

}  // namespace olmoe::client::commands

#endif  // OLMOE_CLIENT_COMMANDS_COMPLETION_PRINTER_H_
