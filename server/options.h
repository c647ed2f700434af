#ifndef OLMOE_SERVER_OPTIONS_H_
#define OLMOE_SERVER_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/access/access_files.h"
#include "server/experiment/serving.h"
#include "server/log/log_line.h"
#include "server/model/load_model.h"
#include "server/stats/expert_metrics.h"

namespace olmoe {

// An address that a port listens on.
struct HostPort {
  std::string host;  // or "unix:/path", which has no port
  int port = 0;      // 0: any free one
  bool is_unix() const { return host.starts_with("unix:"); }
  std::string ToString() const;
};

// Everything that an operator can set. Made by ParseCommandLine, which checks every
// range; nothing else reads flags or the environment.
struct Options {
  model::LoadOptions model;
  std::vector<HostPort> listen = {{"127.0.0.1", 50051}};        // InferenceService
  std::vector<HostPort> admin_listen = {{"127.0.0.1", 50052}};  // RoutingAdminService
  std::vector<HostPort> http_listen = {{"127.0.0.1", 9464}};    // /metrics, /healthz, /readyz
  std::vector<HostPort> completions_listen;                     // empty: no such port
  int completions_streams = 256;  // calls of that port that are handled at once
  absl::Duration completions_wait = absl::Seconds(300);  // of its calls, for the queue
  bool behind_proxy = false;  // an edge that bounds HTTP/2 stands before the gRPC ports
  access::AccessFiles access;
  int max_batch_sequences = 64;
  int max_batch_tokens = 512;  // rows of prompts and windows in one step
  absl::Duration itl_target = absl::ZeroDuration();  // zero: none
  experiment::PrefixCache prefix_cache = experiment::PrefixCache::kOff;
  bool model_sampling = false;  // generation_config.json holds where a request says nothing
  int max_queue = 256;  // requests that wait for a slot
  int64_t max_request_memory = int64_t{1} << 30;  // bytes that requests and answers may hold
  int max_arms = 8;     // of a routing plan
  absl::Duration slow_reader_timeout = absl::Seconds(30);  // of a stream whose reader is behind
  bool allow_inline_policy = false;
  stats::ExpertMetrics expert_metrics = stats::ExpertMetrics::kExpert;
  log::LogFormat log_format = log::LogFormat::kText;
  bool request_log = true;   // a line for each finished request
  std::string state_dir;     // empty: nothing survives the process
  std::string routing_file;  // empty: none
  std::string ports_file;    // empty: none
  absl::Duration lame_duck = absl::ZeroDuration();  // not ready, still serving
  absl::Duration drain_grace = absl::Seconds(30);
};

// What a command line asks for: to serve, or to print something and exit.
struct CommandLine {
  Options options;
  std::optional<int> exit_code;  // set: print `message` and exit
  std::string message;           // to stdout for exit code 0, else to stderr
};

// Flags, and below them the keys of the file that --config names.
CommandLine ParseCommandLine(int argc, const char* const* argv);

// "0.1.0"
const char* ServerVersion();

}  // namespace olmoe

#endif  // OLMOE_SERVER_OPTIONS_H_
