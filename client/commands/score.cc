#include <cmath>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/commands/shared_flags.h"
#include "client/notation/number_list.h"
#include "client/render/format.h"
#include "client/render/routing.h"
#include "client/render/table.h"
#include "client/trace/recorder.h"
#include "client/trace/recording.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::commands {
namespace {

struct ScoreOptions {
  std::vector<std::string> contexts, continuations, rolling, rolling_texts;
  bool ids = false;
  bool per_token = false;
  std::optional<uint32_t> top;
  RequestFlags request;
  std::string trace_out;
};

void Flags(CLI::App& command, ScoreOptions& options) {
  command
      .add_option("--context", options.contexts,
                  "The text before the continuation; once for all continuations, or once for each")
      ->allow_extra_args(false)
      ->check(IsUtf8());
  command
      .add_option("--continuation", options.continuations,
                  "The text to score; may be given several times")
      ->allow_extra_args(false)
      ->check(IsUtf8());
  command
      .add_option("--rolling", options.rolling,
                  "Score all of a file without context; - = stdin; with --ids the ids themselves")
      ->allow_extra_args(false)
      ->check(IsUtf8())
      ->type_name("FILE");
  command
      .add_option("--rolling-text", options.rolling_texts, "Score all of this text without context")
      ->allow_extra_args(false)
      ->check(IsUtf8());
  command.add_flag("--ids", options.ids,
                   "Read contexts, continuations and rolling texts as token ids: 1,2,3");
  command.add_flag("--per-token", options.per_token, "List every token");
  AddNumber(command, "--top", options.top,
            "List N alternatives for each token; implies --per-token");
  AddRequestFlags(command, options.request);
  AddReplayFlags(command, options.request);
  AddTraceFlag(command, options.trace_out);
}

// A context or a continuation, as text or as ids: two fields of `item`.
absl::Status SetPart(const std::string& part, bool is_ids, v1::ScoreItem* item,
                     std::string* (v1::ScoreItem::*text)(),
                     v1::TokenIds* (v1::ScoreItem::*tokens)()) {
  if (!is_ids) {
    *(item->*text)() = part;
    return absl::OkStatus();
  }
  const auto ids = notation::ParseTokenIds(part);
  if (!ids.ok()) return ids.status();
  (item->*tokens)()->mutable_ids()->Add(ids->begin(), ids->end());
  return absl::OkStatus();
}

absl::Status SetContext(const std::string& context, bool is_ids, v1::ScoreItem* item) {
  return SetPart(context, is_ids, item, &v1::ScoreItem::mutable_context_text,
                 &v1::ScoreItem::mutable_context_tokens);
}

absl::Status SetContinuation(const std::string& continuation, bool is_ids, v1::ScoreItem* item) {
  return SetPart(continuation, is_ids, item, &v1::ScoreItem::mutable_continuation_text,
                 &v1::ScoreItem::mutable_continuation_tokens);
}

absl::StatusOr<std::string> RollingText(const std::string& path, Session& session) {
  auto text = session.FileOrInput(path);
  if (text.ok()) return text;
  return absl::InvalidArgumentError(
      absl::StrCat(text.status().message(), "; --rolling-text scores a text itself"));
}

absl::Status AddRolling(const std::string& text, bool is_ids, v1::ScoreRequest* request) {
  v1::ScoreItem* item = request->add_items();
  item->set_rolling(true);
  return SetContinuation(text, is_ids, item);
}

absl::Status AddItems(const ScoreOptions& options, Session& session, v1::ScoreRequest* request) {
  for (size_t i = 0; i < options.continuations.size(); ++i) {
    v1::ScoreItem* item = request->add_items();
    if (!options.contexts.empty()) {
      const std::string& context = options.contexts[options.contexts.size() == 1 ? 0 : i];
      if (auto status = SetContext(context, options.ids, item); !status.ok()) return status;
    }
    auto status = SetContinuation(options.continuations[i], options.ids, item);
    if (!status.ok()) return status;
  }
  for (const std::string& argument : options.rolling) {
    const auto text = options.ids ? argument : RollingText(argument, session);
    if (!text.ok()) return text.status();
    if (auto status = AddRolling(*text, options.ids, request); !status.ok()) return status;
  }
  for (const std::string& text : options.rolling_texts) {
    if (auto status = AddRolling(text, options.ids, request); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::ScoreRequest> BuildRequest(const ScoreOptions& options, Session& session) {
  if (options.continuations.empty() && options.rolling.empty() && options.rolling_texts.empty()) {
    return absl::InvalidArgumentError("score: give --continuation, --rolling or --rolling-text");
  }
  if (options.contexts.size() > 1 && options.contexts.size() != options.continuations.size()) {
    return absl::InvalidArgumentError(absl::StrCat("score: ", options.contexts.size(),
                                                   " contexts for ", options.continuations.size(),
                                                   " continuations"));
  }
  v1::ScoreRequest request;
  if (auto status = AddItems(options, session, &request); !status.ok()) return status;
  if (auto status = SetRequestFlags(options.request, &request); !status.ok()) return status;
  request.set_per_token(options.per_token || options.top.has_value());
  if (options.top) request.set_top(*options.top);
  return request;
}

std::string ItemText(const v1::ScoreItem& item) {
  constexpr size_t kWidth = 32;
  if (item.has_continuation_text()) return render::Quote(item.continuation_text(), kWidth);
  return absl::StrCat(item.continuation_tokens().ids_size(), " ids");
}

std::string RenderResults(const v1::ScoreRequest& request, const v1::ScoreResponse& response,
                          const render::Style& style) {
  using enum render::Table::Align;
  render::Table table({{"#", kRight},
                       {"CONTINUATION"},
                       {"LOGPROB", kRight},
                       {"TOKENS", kRight},
                       {"BYTES", kRight},
                       {"PPL", kRight},
                       {"BITS/BYTE", kRight},
                       {"GREEDY"}});
  for (int i = 0; i < response.results_size() && i < request.items_size(); ++i) {
    const v1::ScoreResult& result = response.results(i);
    if (result.has_error()) {
      table.AddRow({absl::StrCat(i + 1), ItemText(request.items(i)), "-", "-", "-", "-", "-", "-"});
      continue;
    }
    const double nats = -result.logprob_sum();
    table.AddRow({absl::StrCat(i + 1), ItemText(request.items(i)),
                  render::FormatFixed(result.logprob_sum(), 4), absl::StrCat(result.token_count()),
                  absl::StrCat(result.byte_count()),
                  render::FormatFixed(std::exp(nats / result.token_count()), 3),
                  result.byte_count() == 0
                      ? "-"
                      : render::FormatFixed(nats / std::log(2.0) / result.byte_count(), 3),
                  result.is_greedy() ? "yes" : "no"});
  }
  return table.Render(style);
}

std::string RenderTokens(const v1::ScoreResponse& response, const render::Style& style) {
  using enum render::Table::Align;
  render::Table table(
      {{"#", kRight}, {"TOKEN", kRight}, {"LOGPROB", kRight}, {"RANK", kRight}, {"ALTERNATIVES"}});
  for (int i = 0; i < response.results_size(); ++i) {
    for (const v1::ScoredToken& token : response.results(i).tokens()) {
      std::string alternatives;
      for (const v1::TokenLogprob& other : token.top()) {
        absl::StrAppend(&alternatives, alternatives.empty() ? "" : "  ", other.token_id(), " ",
                        render::FormatFixed(other.logprob(), 3));
      }
      table.AddRow({absl::StrCat(i + 1), absl::StrCat(token.token_id()),
                    render::FormatFixed(token.logprob(), 4), absl::StrCat(token.rank()),
                    alternatives});
    }
  }
  return table.empty() ? "" : "\n" + table.Render(style);
}

// Writes the trace to its file and takes out of the reply what was asked for this alone.
absl::Status Record(const ScoreOptions& options, const v1::ScoreRequest& request, Session& session,
                    v1::ScoreResponse* response) {
  auto status = trace::RecordScore(request, *response, options.trace_out, session.rpc());
  for (v1::ScoreResult& result : *response->mutable_results()) {
    result.clear_trace();
    if (!options.per_token && !options.top) result.clear_tokens();
  }
  return status;
}

// Tells the items that could not be scored.
ExitCode TellErrors(const v1::ScoreResponse& response, Session& session) {
  ExitCode code = ExitCode::kOk;
  for (const v1::ScoreResult& result : response.results()) {
    if (!result.has_error()) continue;
    code = ExitCode::kRefused;
    session.err() << "olmoectl: " << result.error().message() << '\n';
  }
  return code;
}

ExitCode Run(const ScoreOptions& options, Session& session) {
  auto request = BuildRequest(options, session);
  if (!request.ok()) return session.UsageError(request.status());
  if (!options.trace_out.empty()) {
    trace::AskForTrace(request->mutable_trace());
    request->set_per_token(true);  // the trace is told with its tokens
  }
  auto response = session.rpc().Score(*request);
  if (!response.ok()) {
    return session.Fail(response.status(), InlinePolicyHint(response.status(), request->routing()));
  }
  if (!options.trace_out.empty()) {
    auto status = Record(options, *request, session, &*response);
    if (status.code() == absl::StatusCode::kInvalidArgument) return session.UsageError(status);
    if (!status.ok()) return session.Fail(status);
  }
  if (session.options().json) {
    session.PrintJson(*response);
    return TellErrors(*response, session);
  }
  session.out() << RenderResults(*request, *response, session.out_style())
                << RenderTokens(*response, session.out_style()) << std::flush;
  session.err() << session.err_style().Dim(
                       absl::StrCat("[", render::DescribeStamp(response->routing()), " | ",
                                    render::FormatDuration(response->timing().total()), "]"))
                << '\n';
  return TellErrors(*response, session);
}

}  // namespace

void AddScore(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<ScoreOptions>(app, chosen, "score", "Score texts: log-likelihood and perplexity",
                           Flags, Run);
}

}  // namespace olmoe::client::commands
