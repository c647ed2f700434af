// olmoe-make-checkpoint: writes a checkpoint of OLMoE's shape with random weights, for
// measurements where the trained one is not at hand. The text that it generates is
// noise; memory, time and the spread over the experts are those of a real model.
#include <unistd.h>

#include <cstdint>
#include <iostream>
#include <map>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/model/checkpoint_layout.h"
#include "tests/support/synthetic_checkpoint.h"

namespace olmoe {
namespace {

using testing::SyntheticCheckpointOptions;

void AddModelFlags(CLI::App* app, model::OlmoeConfig* config) {
  const std::string group = "Model (default: OLMoE-1B-7B-0924)";
  app->add_option("--layers", config->num_layers, "num_hidden_layers")->group(group);
  app->add_option("--hidden", config->hidden_size, "hidden_size")->group(group);
  app->add_option("--intermediate", config->intermediate_size, "width of one expert")->group(group);
  app->add_option("--heads", config->num_heads, "num_attention_heads")->group(group);
  app->add_option("--kv-heads", config->num_kv_heads, "num_key_value_heads")->group(group);
  app->add_option("--vocab", config->vocab_size, "vocab_size")->group(group);
  app->add_option("--experts", config->num_experts, "num_experts")->group(group);
  app->add_option("--top-k", config->experts_per_token, "num_experts_per_tok")->group(group);
  app->add_option("--max-positions", config->max_positions, "max_position_embeddings")
      ->group(group);
  app->add_option("--rope-theta", config->rope_theta, "rope_theta")->group(group);
  app->add_option("--rms-norm-eps", config->rms_norm_eps, "rms_norm_eps")->group(group);
  app->add_option("--clip-qkv", config->clip_qkv, "clip_qkv")->group(group);
  app->add_option("--eos", config->eos_token_id, "eos_token_id")->group(group);
  app->add_option("--pad", config->pad_token_id, "pad_token_id")->group(group);
  app->add_flag("--norm-topk-prob", config->norm_topk_prob, "norm_topk_prob")->group(group);
  app->add_flag("--attention-bias", config->attention_bias, "attention_bias")->group(group);
  app->add_flag("--tie-word-embeddings", config->tie_word_embeddings, "tie_word_embeddings")
      ->group(group);
}

void AddFileFlags(CLI::App* app, std::string* folder, SyntheticCheckpointOptions* options) {
  static const std::map<std::string, DType> kDTypes = {
      {"bf16", DType::kBFloat16}, {"f16", DType::kFloat16}, {"f32", DType::kFloat32}};
  app->add_option("folder", *folder, "Where to write; made where it does not exist")->required();
  app->add_option_function<std::string>(
         "--dtype", [options](const std::string& name) { options->dtype = kDTypes.at(name); },
         "Element type (default bf16)")
      ->check(CLI::IsMember(kDTypes));
  app->add_option("--seed", options->seed, "Seed of the weights")->capture_default_str();
  auto* shards = app->add_option("--shards", options->num_shards, "Number of safetensors files")
                     ->check(CLI::Range(1, 256));
  app->add_option("--max-shard-bytes", options->max_shard_bytes, "Most bytes of tensors in a file")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->excludes(shards);
  app->add_option("--threads", options->num_threads, "Threads")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app->add_option("--tokenizer", options->tokenizer_file, "A tokenizer.json to copy beside it")
      ->check(CLI::ExistingFile);
}

void ShowProgress(uint64_t bytes_done, uint64_t bytes_total) {
  constexpr int kWidth = 40;
  const double share = static_cast<double>(bytes_done) / static_cast<double>(bytes_total);
  const int filled = static_cast<int>(share * kWidth);
  std::cerr << absl::StreamFormat("\r[%s%s] %5.1f / %.1f GB", std::string(filled, '='),
                                  std::string(kWidth - filled, ' '), bytes_done * 1e-9,
                                  bytes_total * 1e-9);
  if (bytes_done == bytes_total) std::cerr << "\n";
}

// The flags, checked as the server will check them when it reads config.json.
absl::Status CheckConfig(model::OlmoeConfig* config) {
  absl::StatusOr<model::OlmoeConfig> checked =
      model::OlmoeConfig::FromJson(testing::ConfigJson(*config));
  if (!checked.ok()) return checked.status();
  *config = *checked;
  return absl::OkStatus();
}

int Fail(const absl::Status& status) {
  std::cerr << "olmoe-make-checkpoint: " << status.message() << "\n";
  return 1;
}

int Main(int argc, char** argv) {
  std::string folder;
  SyntheticCheckpointOptions options;
  options.config = testing::PublishedConfig();
  CLI::App app("Writes an OLMoE checkpoint with random weights");
  AddFileFlags(&app, &folder, &options);
  AddModelFlags(&app, &options.config);
  CLI11_PARSE(app, argc, argv);
  if (app.count("--heads") > 0 && app.count("--kv-heads") == 0) {
    options.config.num_kv_heads = options.config.num_heads;
  }

  absl::Status status = CheckConfig(&options.config);
  if (!status.ok()) return Fail(status);
  if (isatty(STDERR_FILENO)) options.progress = ShowProgress;
  const absl::Time start = absl::Now();
  status = testing::WriteSyntheticCheckpoint(folder, options);
  if (!status.ok()) return Fail(status);
  std::cout << folder << ": written in " << absl::FormatDuration(absl::Now() - start) << "\n";
  return 0;
}

}  // namespace
}  // namespace olmoe

int main(int argc, char** argv) { return olmoe::Main(argc, argv); }
