#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/commands/command.h"
#include "client/commands/shared_flags.h"
#include "client/notation/number_list.h"
#include "client/render/format.h"
#include "client/render/progress.h"
#include "client/render/routing.h"
#include "client/render/table.h"
#include "client/trace/recorder.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::commands {
namespace {

struct GenerateOptions {
  std::optional<std::string> prompt, tokens;
  uint32_t max_new_tokens = 64;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<uint32_t> top_k, logprobs;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  bool ignore_eos = false;
  RequestFlags request;
  bool no_special = false;
  bool stream_json = false;
  std::string trace_out;
};

// What `patch` calls a rule of the routing would be taken for one here, and sample instead.
void RefuseRuleName(CLI::App& command, const std::string& name) {
  const std::string flag = "--" + name;
  const auto refuse = [name, flag](const std::string& value) {
    throw CLI::ValidationError(flag, absl::StrCat("is --sample-", name, " ", value,
                                                  " for the sampling of tokens, and --policy ",
                                                  name, "=", value, " for the routing to experts"));
  };
  command.add_option_function<std::string>(flag, refuse)->group("");  // not shown
}

void SamplingFlags(CLI::App& command, GenerateOptions& options) {
  AddNumber(command, "--temperature", options.temperature,
            "Temperature of the sampling, 0 = greedy; the server's default is 1");
  AddNumber(command, "--sample-top-p", options.top_p,
            "Sample from the fewest tokens with this probability together");
  AddNumber(command, "--sample-top-k", options.top_k, "Sample from the N likeliest tokens");
  AddNumber(command, "--sample-min-p", options.min_p,
            "Sample from tokens with at least this part of the largest probability");
  AddNumber(command, "--repetition-penalty", options.repetition_penalty,
            "Above 1: make tokens that have occurred less likely");
  AddNumber(command, "--seed", options.seed,
            "Seed of the sampling: the same seed gives the same text; default: random, and told");
  for (const char* name : {"top-p", "top-k", "min-p"}) RefuseRuleName(command, name);
}

void Flags(CLI::App& command, GenerateOptions& options) {
  auto* prompt = command.add_option("prompt", options.prompt, "The text to complete; - = stdin")
                     ->check(IsUtf8())
                     ->type_name("PROMPT");
  command.add_option("--tokens", options.tokens, "The prompt as token ids: 1,2,3")
      ->excludes(prompt);
  AddNumber(command, "-n,--max-new-tokens", options.max_new_tokens,
            "Generate at most this many tokens")
      ->capture_default_str();
  SamplingFlags(command, options);
  command.add_option("--stop", options.stop, "End before this text; may be given several times")
      ->allow_extra_args(false)
      ->check(IsUtf8());
  command.add_flag("--ignore-eos", options.ignore_eos, "Do not end at the end-of-text token");
  AddNumber(command, "--logprobs", options.logprobs,
            "List the tokens with their log-probabilities and N alternatives");
  AddRequestFlags(command, options.request);
  AddReplayFlags(command, options.request);
  command.add_flag("--no-special", options.no_special, "Put no special tokens before the prompt");
  command.add_flag("--stream-json", options.stream_json, "Print one line of JSON for each event");
  AddTraceFlag(command, options.trace_out);
}

void SetSampling(const GenerateOptions& options, v1::SamplingParams* sampling) {
  if (options.temperature) sampling->set_temperature(*options.temperature);
  if (options.top_p) sampling->set_top_p(*options.top_p);
  if (options.top_k) sampling->set_top_k(*options.top_k);
  if (options.min_p) sampling->set_min_p(*options.min_p);
  if (options.repetition_penalty) sampling->set_repetition_penalty(*options.repetition_penalty);
  if (options.seed) sampling->set_seed(*options.seed);
}

// Errors are the command line's.
absl::Status SetPrompt(const GenerateOptions& options, Session& session,
                       v1::GenerateRequest* request) {
  if (options.tokens) {
    auto ids = notation::ParseTokenIds(*options.tokens);
    if (!ids.ok()) return ids.status();
    request->mutable_tokens()->mutable_ids()->Add(ids->begin(), ids->end());
    return absl::OkStatus();
  }
  auto text = session.TextOrInput(options.prompt.value_or("-"));
  if (text.ok()) request->set_text(*std::move(text));
  return text.status();
}

absl::StatusOr<v1::GenerateRequest> BuildRequest(const GenerateOptions& options, Session& session) {
  v1::GenerateRequest request;
  if (auto status = SetPrompt(options, session, &request); !status.ok()) return status;
  if (auto status = SetRequestFlags(options.request, &request); !status.ok()) return status;
  request.set_max_new_tokens(options.max_new_tokens);
  SetSampling(options, request.mutable_sampling());
  request.mutable_stop()->Add(options.stop.begin(), options.stop.end());
  request.set_ignore_eos(options.ignore_eos);
  if (options.logprobs) request.set_logprobs(*options.logprobs);
  if (options.no_special) request.set_add_special_tokens(false);
  return request;
}

// The last line, on stderr: what made the text, and how fast.
std::string Summary(const v1::GenerateResponse& done, uint32_t num_layers) {
  const v1::Usage& usage = done.usage();
  const double decode = render::ToSeconds(done.timing().decode());
  std::string line = absl::StrCat("[", render::DescribeStamp(done.routing()), " | ",
                                  usage.completion_tokens(), " tokens");
  if (decode > 0 && usage.completion_tokens() > 1) {
    absl::StrAppend(&line, ", ", render::FormatFixed((usage.completion_tokens() - 1) / decode, 1),
                    " tok/s");
  }
  absl::StrAppend(&line, ", first after ",
                  render::FormatDuration(done.timing().time_to_first_token()));
  // Those in the cache too: the numbers do not depend on what was there.
  const double rows = static_cast<double>(usage.routed_tokens()) + usage.cached_prompt_tokens();
  if (num_layers > 0 && rows > 0) {
    const double experts =
        static_cast<double>(usage.expert_activations() + usage.cached_expert_activations()) / rows /
        num_layers;
    absl::StrAppend(&line, " | ", render::FormatFixed(experts, 2), " experts per token and layer");
  }
  return absl::StrCat(line, " | seed ", done.seed(), "]");
}

// Number of layers, or 0 where the server does not say: the summary leaves it out.
uint32_t NumLayers(Session& session) {
  const auto info = session.rpc().GetModelInfo({});
  return info.ok() ? info->num_layers() : 0;
}

render::Table TokenTable() {
  using enum render::Table::Align;
  return render::Table({{"TOKEN", kRight}, {"PIECE"}, {"LOGPROB", kRight}, {"ALTERNATIVES"}});
}

void AddTokens(const v1::GenerateDelta& delta, render::Table* table) {
  for (const v1::GeneratedToken& token : delta.tokens()) {
    std::string alternatives;
    for (const v1::TokenLogprob& other : token.top()) {
      absl::StrAppend(&alternatives, alternatives.empty() ? "" : "  ", other.token_id(), " ",
                      render::FormatFixed(other.logprob(), 3));
    }
    table->AddRow({absl::StrCat(token.token_id()), render::Quote(token.piece()),
                   render::FormatFixed(token.logprob(), 4), alternatives});
  }
}

// Writes text as it comes; at the end the ids where there was no text at all, as
// from a model without a tokenizer. Thread-compatible.
class TextPrinter {
 public:
  TextPrinter(Session& session, uint32_t max_new_tokens)
      : session_(session),
        max_new_tokens_(max_new_tokens),
        progress_(session.err(), session.err_is_terminal() && !session.out_is_terminal()) {}

  // False where nobody reads any more.
  bool OnEvent(const v1::GenerateStreamResponse& event) {
    if (event.has_done()) done_ = event.done();
    if (!event.has_delta()) return true;
    ids_.MergeFrom(event.delta().token_ids());
    AddTokens(event.delta(), &table_);
    progress_.Show(absl::StrCat(ids_.size(), " of at most ", max_new_tokens_, " tokens"));
    Print(event.delta().text());
    return session_.out().good();
  }

  // Ends the line that a failure left unfinished.
  void Abandon() {
    progress_.Clear();
    if (printed_text_) session_.out() << std::endl;
  }

  void Finish() {
    progress_.Clear();
    if (!printed_text_) session_.out() << absl::StrJoin(ids_, ",");
    session_.out() << '\n';
    if (!table_.empty()) session_.out() << table_.Render(session_.out_style());
    session_.out().flush();
    session_.err() << session_.err_style().Dim(Summary(done_, NumLayers(session_))) << '\n';
  }

 private:
  void Print(const std::string& text) {
    printed_text_ = printed_text_ || !text.empty();
    session_.out() << (session_.out_is_terminal() ? render::ForTerminal(text) : text) << std::flush;
  }

  Session& session_;
  const uint32_t max_new_tokens_;
  render::Progress progress_;
  render::Table table_ = TokenTable();
  google::protobuf::RepeatedField<uint32_t> ids_;
  bool printed_text_ = false;
  v1::GenerateResponse done_;
};

// Where --trace-out records to. Thread-compatible.
class TraceOut {
 public:
  explicit TraceOut(std::string path) : path_(std::move(path)) {}

  absl::Status Begin(v1::GenerateRequest* request, Session& session) {
    if (path_.empty()) return absl::OkStatus();
    auto recorder = trace::GenerateRecorder::Create(request, session.rpc());
    if (recorder.ok()) recorder_.emplace(*std::move(recorder));
    return recorder.status();
  }
  void OnEvent(const v1::GenerateStreamResponse& event) {
    if (!recorder_) return;
    if (event.has_delta()) recorder_->Add(event.delta());
    if (event.has_done()) stamp_ = event.done().routing();
  }
  // Takes the trace out of what is printed: it goes to the file.
  void OnResponse(v1::GenerateResponse* response) {
    if (!recorder_) return;
    recorder_->Add(*response);
    stamp_ = response->routing();
    response->clear_trace();
  }
  ExitCode End(ExitCode code, Session& session) const {
    if (!recorder_ || code != ExitCode::kOk) return code;
    const absl::Status status = recorder_->Write(path_, stamp_);
    if (status.ok()) return code;
    return status.code() == absl::StatusCode::kInvalidArgument ? session.UsageError(status)
                                                               : session.Fail(status);
  }

 private:
  const std::string path_;
  std::optional<trace::GenerateRecorder> recorder_;
  v1::RoutingStamp stamp_;
};

ExitCode Fail(const v1::GenerateRequest& request, const absl::Status& status, Session& session) {
  return session.Fail(status, InlinePolicyHint(status, request.routing()));
}

ExitCode StreamText(const v1::GenerateRequest& request, Session& session, TraceOut* trace) {
  TextPrinter printer(session, request.max_new_tokens());
  const absl::Status status = session.rpc().GenerateStream(request, [&](const auto& event) {
    trace->OnEvent(event);
    return printer.OnEvent(event);
  });
  if (!session.out().good()) return ExitCode::kOk;  // Session::Finish tells
  if (!status.ok()) {
    printer.Abandon();
    return Fail(request, status, session);
  }
  printer.Finish();
  return ExitCode::kOk;
}

ExitCode StreamJson(const v1::GenerateRequest& request, Session& session, TraceOut* trace) {
  const absl::Status status = session.rpc().GenerateStream(request, [&](auto event) {
    trace->OnEvent(event);
    if (request.has_trace() && event.has_delta()) event.mutable_delta()->clear_trace();
    session.out() << render::ToJson(event, /*indent=*/false) << std::endl;
    return session.out().good();
  });
  if (!session.out().good()) return ExitCode::kOk;  // Session::Finish tells
  return status.ok() ? ExitCode::kOk : Fail(request, status, session);
}

ExitCode UnaryJson(const v1::GenerateRequest& request, Session& session, TraceOut* trace) {
  auto response = session.rpc().Generate(request);
  if (!response.ok()) return Fail(request, response.status(), session);
  trace->OnResponse(&*response);
  return session.PrintJson(*response);
}

ExitCode Run(const GenerateOptions& options, Session& session) {
  auto request = BuildRequest(options, session);
  if (!request.ok()) return session.UsageError(request.status());
  TraceOut trace(options.trace_out);
  if (auto status = trace.Begin(&*request, session); !status.ok()) return session.Fail(status);
  const auto call = options.stream_json      ? StreamJson
                    : session.options().json ? UnaryJson
                                             : StreamText;
  return trace.End(call(*request, session, &trace), session);
}

}  // namespace

void AddGenerate(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<GenerateOptions>(app, chosen, "generate", "Complete a prompt", Flags, Run);
}

}  // namespace olmoe::client::commands
