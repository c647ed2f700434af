#include "server/options.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <sstream>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/config_file.h"
#include "server/util/command_line.h"
#include "server/util/utf8.h"

namespace olmoe {
namespace {

constexpr int kBadUsage = 2;

// The last colon splits, so that "[::1]:50051" works.
bool ParseHostPort(const std::string& text, HostPort* out) {
  const HostPort unix_socket = {.host = text, .port = 0};
  if (unix_socket.is_unix()) {
    *out = unix_socket;
    return text.size() > std::strlen("unix:");
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return false;
  int port = -1;
  if (text.find('/') != std::string::npos) return false;  // a URL
  if (!absl::SimpleAtoi(text.substr(colon + 1), &port) || port < 0 || port > 65535) return false;
  out->host = text.substr(0, colon);
  out->port = port;
  return true;
}

bool ParseDuration(const std::string& text, absl::Duration* out) {
  return absl::ParseDuration(text, out) && *out >= absl::ZeroDuration() && *out <= absl::Hours(24);
}

// Given several times it listens on all of them.
void AddAddresses(CLI::App* app, const char* flag, const char* help,
                  std::vector<HostPort>* target) {
  app->add_option_function<std::vector<std::string>>(
         flag,
         [flag, target](const std::vector<std::string>& texts) {
           target->clear();
           for (const std::string& text : texts) {
             if (ParseHostPort(text, &target->emplace_back())) continue;
             throw CLI::ValidationError(
                 flag, absl::StrCat("expected HOST:PORT or unix:PATH, got ", text));
           }
         },
         help)
      ->allow_extra_args(false)
      ->type_name("ADDRESS")
      ->default_str(target->empty() ? "" : target->front().ToString());
}

void AddDuration(CLI::App* app, const char* flag, const char* help, absl::Duration* target) {
  app->add_option_function<std::string>(
         flag,
         [flag, target](const std::string& text) {
           if (!ParseDuration(text, target)) {
             throw CLI::ValidationError(
                 flag,
                 absl::StrCat("expected a duration up to 24h, such as 30s or 1m30s, got ", text));
           }
         },
         help)
      ->type_name("DURATION")
      ->default_str(absl::FormatDuration(*target));
}

void AddInt(CLI::App* app, const char* flag, const char* help, int low, int high, int* target) {
  AddNumber(*app, flag, *target, absl::StrCat(help, " (", low, "..", high, ")"), {low, high})
      ->capture_default_str();
}

// One of a few names.
template <class T>
void AddChoice(CLI::App* app, const char* flag, const char* help,
               const std::map<std::string, T>& choices, const char* default_name, T* target) {
  app->add_option_function<std::string>(
         flag, [choices, target](const std::string& name) { *target = choices.at(name); }, help)
      ->check(CLI::IsMember(choices).description(""))
      ->type_name("NAME")
      ->default_str(default_name);
}

// Empty where `name` may be shown in replies, labels and logs, otherwise what is wrong with it.
std::string ModelNameProblem(const std::string& name) {
  constexpr size_t kMaxBytes = 256;
  if (name.empty()) return "the name is empty";
  if (name.size() > kMaxBytes) return absl::StrCat("more than ", kMaxBytes, " bytes");
  const bool printable = std::all_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 && c != 0x7F;
  });
  return printable && IsWellFormedUtf8(name) ? "" : "must be printable UTF-8";
}

void AddModelFlags(CLI::App* app, Options* options) {
  constexpr int kMaxContext = 1 << 20, kMaxThreads = 1024;
  constexpr int64_t kMaxKvCacheBytes = int64_t{1} << 50;
  app->add_option("--model", options->model.dir,
                  "Folder of the checkpoint, in the layout of the Hugging Face hub")
      ->required()
      ->type_name("DIR");
  app->add_option("--served-model-name", options->model.model_id,
                  "What the model is called in replies, metrics and logs; default: its folder's "
                  "name, or OWNER/NAME@COMMIT in the cache of the Hugging Face hub")
      ->check(ModelNameProblem, "", "")
      ->type_name("NAME");
  AddChoice<DType>(app, "--dtype", "Type of weights and KV cache: float32 or bfloat16",
                   {{"float32", DType::kFloat32}, {"bfloat16", DType::kBFloat16}}, "bfloat16",
                   &options->model.dtype);
  app->add_option("--device", options->model.device, "Device that the model runs on")
      ->capture_default_str();
  app->add_option(
         "--cpu-isa", options->model.cpu_isa,
         "Kernels on the CPU: auto (the best that it has), amx, avx512-bf16, avx2, portable; "
         "aten: LibTorch, the reference")
      ->check(
          CLI::IsMember({"auto", "amx", "avx512-bf16", "avx2", "portable", "aten"}).description(""))
      ->type_name("NAME")
      ->capture_default_str();
  AddInt(app, "--threads",
         "Compute threads; 0: as many as this process has cores, by its affinity and its cgroup's "
         "quota",
         0, kMaxThreads, &options->model.threads);
  AddInt(app, "--max-context", "Tokens that one sequence may have; 0: what config.json allows", 0,
         kMaxContext, &options->model.max_context);
  app->add_option(
         "--kv-cache-bytes", options->model.kv_cache_bytes,
         "Size of the KV cache, such as 512MiB or 4GiB; 0: a few sequences of --max-context")
      ->transform(IsSize())
      ->check(CLI::Range(int64_t{0}, kMaxKvCacheBytes).description(""))
      ->type_name("SIZE")
      ->default_str("0");
}

void AddPortFlags(CLI::App* app, Options* options) {
  AddAddresses(app, "--listen",
               "Address of InferenceService: HOST:PORT or unix:PATH, and as often as there are "
               "addresses; so for the next three",
               &options->listen);
  AddAddresses(app, "--admin-listen", "Address of RoutingAdminService", &options->admin_listen);
  AddAddresses(app, "--http-listen", "Address of the live page at /, /metrics, /healthz, /readyz",
               &options->http_listen);
  AddAddresses(app, "--completions-listen",
               "Address of OpenAI's completions API, with the public port's TLS and tokens; "
               "without it there is none",
               &options->completions_listen);
  app->add_flag("--behind-proxy", options->behind_proxy,
                "The gRPC ports and that of completions are reached only through an edge, such as "
                "that of deploy/edge");
}

// How much is taken on, and for how long it is held.
void AddLoadFlags(CLI::App* app, Options* options) {
  constexpr int kMaxSequences = 4096, kMaxRows = 32768, kMaxQueue = 1 << 20;
  // Less has no room for one message of the largest size.
  constexpr int64_t kMinRequestMemory = int64_t{64} << 20, kMaxRequestMemory = int64_t{1} << 40;
  AddInt(app, "--max-batch-sequences", "Sequences that are computed together", 1, kMaxSequences,
         &options->max_batch_sequences);
  AddInt(app, "--max-batch-tokens", "Rows of prompts and scored windows in one step", 1, kMaxRows,
         &options->max_batch_tokens);
  AddDuration(
      app, "--itl-target",
      "Longest time between two tokens of a completion; prompts that share its steps are cut "
      "to keep it; 0s: none",
      &options->itl_target);
  AddChoice<experiment::PrefixCache>(
      app, "--prefix-cache",
      "Keep the prompts in the KV cache while there is room, and do not compute them again: for "
      "callers of one name (principal), for all (shared), or not (off)",
      {{"off", experiment::PrefixCache::kOff},
       {"principal", experiment::PrefixCache::kPrincipal},
       {"shared", experiment::PrefixCache::kShared}},
      "off", &options->prefix_cache);
  AddChoice<bool>(app, "--sampling-defaults",
                  "What holds where a request does not say how to sample: temperature 1 and no "
                  "filters (neutral), or what generation_config.json says (model)",
                  {{"neutral", false}, {"model", true}}, "neutral", &options->model_sampling);
  AddInt(app, "--max-queue", "Requests that may wait; more are refused", 1, kMaxQueue,
         &options->max_queue);
  AddInt(app, "--completions-streams",
         "Calls of the completions API that are handled at once; others wait", 1, kMaxQueue,
         &options->completions_streams);
  AddDuration(app, "--completions-wait",
              "How long such a call may wait while the queue or the memory is full",
              &options->completions_wait);
  app->add_option(
         "--max-request-memory", options->max_request_memory,
         "Memory that requests and their answers may hold together, from receipt until written")
      ->transform(IsSize())
      ->check(CLI::Range(kMinRequestMemory, kMaxRequestMemory).description(""))
      ->type_name("SIZE")
      ->default_str("1GiB");
  AddDuration(app, "--slow-reader-timeout",
              "How long the reader of a stream may be behind before the stream is cancelled",
              &options->slow_reader_timeout);
}

void AddRoutingFlags(CLI::App* app, Options* options) {
  constexpr int kMaxArms = 64;
  AddInt(app, "--max-arms", "Arms that a routing plan may have", 1, kMaxArms, &options->max_arms);
  app->add_flag("--allow-inline-policy", options->allow_inline_policy,
                "Let requests bring their own routing policy");
  AddChoice<stats::ExpertMetrics>(app, "--expert-metrics",
                                  "Detail of the router metrics: off, layer or expert",
                                  {{"off", stats::ExpertMetrics::kOff},
                                   {"layer", stats::ExpertMetrics::kLayer},
                                   {"expert", stats::ExpertMetrics::kExpert}},
                                  "expert", &options->expert_metrics);
}

// What the process writes and reads, and how it ends.
void AddProcessFlags(CLI::App* app, Options* options) {
  AddChoice<log::LogFormat>(app, "--log-format", "Form of the log: text or json",
                            {{"text", log::LogFormat::kText}, {"json", log::LogFormat::kJson}},
                            "text", &options->log_format);
  AddChoice<bool>(app, "--request-log", "Log a line for each finished request: on or off",
                  {{"on", true}, {"off", false}}, "on", &options->request_log);
  app->add_option(
         "--state-dir", options->state_dir,
         "Keep plans, their history, calibrations and routers in this folder across restarts")
      ->type_name("DIR");
  app->add_option("--routing", options->routing_file,
                  "First plan, a RoutingPlan in JSON; SIGHUP reads the file again")
      ->type_name("FILE");
  app->add_option(
         "--ports-file", options->ports_file,
         "Write this file when ready: {\"listen\": port, \"admin\": port, \"http\": port}, "
         "and \"completions\" where there is that port")
      ->type_name("FILE");
  AddDuration(app, "--lame-duck", "After SIGTERM: go on serving for this long although not ready",
              &options->lame_duck);
  AddDuration(app, "--drain-grace", "After SIGTERM: finish accepted requests within this time",
              &options->drain_grace);
}

// `--flag ""` would quietly leave a port open, as an unset variable in a script does.
CLI::Option* AddFile(CLI::App* app, const char* flag, const char* help, std::string* target) {
  const auto not_empty = [](const std::string& path) {
    return path.empty() ? std::string("the name of the file is empty") : std::string();
  };
  return app->add_option(flag, *target, help)->check(not_empty, "", "")->type_name("FILE");
}

void AddAccessFlags(CLI::App* app, access::AccessFiles* files) {
  CLI::Option* cert =
      AddFile(app, "--tls-cert", "Certificate chain of both gRPC ports, PEM", &files->tls_cert);
  CLI::Option* key =
      AddFile(app, "--tls-key", "Private key of the certificate, PEM", &files->tls_key);
  cert->needs(key);
  key->needs(cert);
  AddFile(app, "--tls-client-ca",
          "Require client certificates that one of these authorities signed, PEM",
          &files->tls_client_ca)
      ->needs(cert);
  AddFile(app, "--admin-tls-client-ca", "The same, for the admin port alone",
          &files->admin_tls_client_ca)
      ->needs(cert);
  AddFile(app, "--token-file", "Require one of these tokens; each line is [NAME:]TOKEN",
          &files->token_file);
  AddFile(app, "--admin-token-file", "Require one of these tokens on the admin port",
          &files->admin_token_file);
}

}  // namespace

std::string HostPort::ToString() const { return is_unix() ? host : absl::StrCat(host, ":", port); }

const char* ServerVersion() { return OLMOE_VERSION; }

CommandLine ParseCommandLine(int argc, const char* const* argv) {
  CommandLine out;
  CLI::App app("Serves an OLMoE model whose expert routers are patched while it runs.",
               "olmoe-server");
  app.set_version_flag("--version", absl::StrCat("olmoe-server ", ServerVersion()));
  app.set_config("--config", "", "Read flags from this file: the same keys, without the dashes");
  app.config_formatter(std::make_shared<ConfigFile>(&app));
  AddModelFlags(&app, &out.options);
  AddPortFlags(&app, &out.options);
  AddLoadFlags(&app, &out.options);
  AddRoutingFlags(&app, &out.options);
  AddProcessFlags(&app, &out.options);
  AddAccessFlags(&app, &out.options.access);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream help, problem;
    const bool wants_help = app.exit(error, help, problem) == 0;
    out.exit_code = wants_help ? 0 : kBadUsage;
    out.message = wants_help ? help.str()
                             : absl::StrCat("olmoe-server: ", DescribeParseError(app, error), "\n");
  }
  return out;
}

}  // namespace olmoe
