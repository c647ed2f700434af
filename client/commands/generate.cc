#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/commands/command.h"
#include "client/commands/completion_printer.h"
#include "client/commands/shared_flags.h"
#include "client/notation/number_list.h"
#include "client/render/format.h"
#include "client/trace/recorder.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::commands {
namespace {

struct GenerateOptions {
  std::optional<std::string> prompt, tokens;
  uint32_t max_new_tokens = 64;
  std::optional<double> temperature, top_p, min_p;
  std::optional<double> repetition_penalty, presence_penalty, frequency_penalty;
  std::vector<std::string> logit_bias;
  std::optional<uint32_t> top_k, logprobs, prompt_logprobs, completions;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  bool ignore_eos = false;
  bool include_stop = false;
  bool show_special = false;
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
  AddNumber(command, "--presence-penalty", options.presence_penalty,
            "Take this from the logit of every token of the completion, -2..2");
  AddNumber(command, "--frequency-penalty", options.frequency_penalty,
            "Take this from it for each time that it has occurred, -2..2");
  command
      .add_option("--logit-bias", options.logit_bias,
                  "Add to the logits of tokens: ID=BIAS[,ID=BIAS...]")
      ->delimiter(',');
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
  command.add_flag("--include-stop", options.include_stop, "End with the text of --stop");
  command.add_flag("--show-special", options.show_special, "Print special tokens, too");
  AddNumber(command, "--completions", options.completions,
            "Complete the prompt N times, with seeds that follow each other");
  AddNumber(command, "--logprobs", options.logprobs,
            "List the tokens with their log-probabilities and N alternatives");
  AddNumber(command, "--prompt-logprobs", options.prompt_logprobs,
            "List the tokens of the prompt with theirs; then --max-new-tokens may be 0");
  AddRequestFlags(command, options.request);
  AddReplayFlags(command, options.request);
  command.add_flag("--no-special", options.no_special, "Put no special tokens before the prompt");
  command.add_flag("--stream-json", options.stream_json, "Print one line of JSON for each event");
  AddTraceFlag(command, options.trace_out);
}

absl::Status SetLogitBias(const std::vector<std::string>& entries, v1::SamplingParams* sampling) {
  for (const std::string& entry : entries) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(entry, absl::MaxSplits('=', 1));
    uint32_t id;
    double bias;
    if (!absl::SimpleAtoi(parts.first, &id) || !absl::SimpleAtod(parts.second, &bias)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--logit-bias: ", render::Quote(entry), " is not ID=BIAS"));
    }
    (*sampling->mutable_logit_bias())[id] = bias;
  }
  return absl::OkStatus();
}

absl::Status SetSampling(const GenerateOptions& options, v1::SamplingParams* sampling) {
  if (options.temperature) sampling->set_temperature(*options.temperature);
  if (options.top_p) sampling->set_top_p(*options.top_p);
  if (options.top_k) sampling->set_top_k(*options.top_k);
  if (options.min_p) sampling->set_min_p(*options.min_p);
  if (options.repetition_penalty) sampling->set_repetition_penalty(*options.repetition_penalty);
  if (options.presence_penalty) sampling->set_presence_penalty(*options.presence_penalty);
  if (options.frequency_penalty) sampling->set_frequency_penalty(*options.frequency_penalty);
  if (options.seed) sampling->set_seed(*options.seed);
  return SetLogitBias(options.logit_bias, sampling);
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
  if (auto status = SetSampling(options, request.mutable_sampling()); !status.ok()) return status;
  request.mutable_stop()->Add(options.stop.begin(), options.stop.end());
  request.set_ignore_eos(options.ignore_eos);
  if (options.completions.value_or(1) > 1 && !options.trace_out.empty()) {
    return absl::InvalidArgumentError(
        "--trace-out records one completion: leave --completions out");
  }
  request.set_include_stop(options.include_stop);
  if (options.show_special) request.set_skip_special_tokens(false);
  if (options.completions) request.set_n(*options.completions);
  if (options.logprobs) request.set_logprobs(*options.logprobs);
  if (options.prompt_logprobs) request.set_prompt_logprobs(*options.prompt_logprobs);
  if (options.no_special) request.set_add_special_tokens(false);
  return request;
}

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
  CompletionPrinter printer(session, request);
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
