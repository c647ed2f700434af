#include "server/options.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

CommandLine Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "olmoe-server");
  return ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
}

Options Good(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), {"--model", "m"});
  CommandLine line = Parse(std::move(arguments));
  EXPECT_FALSE(line.exit_code.has_value()) << line.message;
  return line.options;
}

TEST(OptionsTest, DefaultsAreLoopbackAndTheDocumentedPorts) {
  const Options options = Good({});
  EXPECT_EQ(options.model.dir, "m");
  EXPECT_EQ(options.listen[0].ToString(), "127.0.0.1:50051");
  EXPECT_EQ(options.admin_listen[0].ToString(), "127.0.0.1:50052");
  EXPECT_EQ(options.http_listen[0].ToString(), "127.0.0.1:9464");
  EXPECT_EQ(options.model.dtype, DType::kBFloat16);
  EXPECT_FALSE(options.allow_inline_policy);
  EXPECT_FALSE(options.behind_proxy);
  EXPECT_EQ(options.log_format, log::LogFormat::kText);
  EXPECT_TRUE(options.request_log);
  EXPECT_EQ(options.drain_grace, absl::Seconds(30));
}

TEST(OptionsTest, EveryFlagReachesItsOption) {
  const Options options = Good({"--listen",
                                "0.0.0.0:0",
                                "--admin-listen",
                                "[::1]:7",
                                "--http-listen",
                                "localhost:65535",
                                "--dtype",
                                "float32",
                                "--device",
                                "cuda:1",
                                "--cpu-isa",
                                "avx2",
                                "--threads",
                                "3",
                                "--max-context",
                                "512",
                                "--max-batch-tokens",
                                "128",
                                "--max-batch-sequences",
                                "32",
                                "--max-queue",
                                "9",
                                "--slow-reader-timeout",
                                "5s",
                                "--max-request-memory",
                                "128MiB",
                                "--behind-proxy",
                                "--max-arms",
                                "4",
                                "--kv-cache-bytes",
                                "3MiB",
                                "--allow-inline-policy",
                                "--expert-metrics",
                                "layer",
                                "--log-format",
                                "json",
                                "--request-log",
                                "off",
                                "--ports-file",
                                "p",
                                "--state-dir",
                                "s",
                                "--routing",
                                "r",
                                "--itl-target",
                                "80ms",
                                "--lame-duck",
                                "1500ms",
                                "--drain-grace",
                                "1m30s",
                                "--tls-cert",
                                "cert",
                                "--tls-key",
                                "key",
                                "--tls-client-ca",
                                "ca",
                                "--admin-tls-client-ca",
                                "admin-ca",
                                "--token-file",
                                "users",
                                "--admin-token-file",
                                "admins"});
  EXPECT_EQ(options.listen[0].port, 0);
  EXPECT_TRUE(options.behind_proxy);
  EXPECT_EQ(options.admin_listen[0].host, "[::1]");
  EXPECT_EQ(options.http_listen[0].port, 65535);
  EXPECT_EQ(options.model.dtype, DType::kFloat32);
  EXPECT_EQ(options.model.device, "cuda:1");
  EXPECT_EQ(options.model.cpu_isa, "avx2");
  EXPECT_EQ(options.model.threads, 3);
  EXPECT_EQ(options.model.max_context, 512);
  EXPECT_EQ(options.max_batch_tokens, 128);
  EXPECT_EQ(options.max_batch_sequences, 32);
  EXPECT_EQ(options.max_queue, 9);
  EXPECT_EQ(options.max_request_memory, 128 << 20);
  EXPECT_EQ(options.max_arms, 4);
  EXPECT_EQ(options.model.kv_cache_bytes, 3 << 20);
  EXPECT_EQ(options.slow_reader_timeout, absl::Seconds(5));
  EXPECT_TRUE(options.allow_inline_policy);
  EXPECT_EQ(options.expert_metrics, stats::ExpertMetrics::kLayer);
  EXPECT_EQ(options.log_format, log::LogFormat::kJson);
  EXPECT_FALSE(options.request_log);
  EXPECT_EQ(options.ports_file, "p");
  EXPECT_EQ(options.state_dir, "s");
  EXPECT_EQ(options.routing_file, "r");
  EXPECT_EQ(options.itl_target, absl::Milliseconds(80));
  EXPECT_EQ(options.lame_duck, absl::Milliseconds(1500));
  EXPECT_EQ(options.drain_grace, absl::Seconds(90));
  EXPECT_EQ(options.access.tls_cert, "cert");
  EXPECT_EQ(options.access.tls_key, "key");
  EXPECT_EQ(options.access.tls_client_ca, "ca");
  EXPECT_EQ(options.access.admin_tls_client_ca, "admin-ca");
  EXPECT_EQ(options.access.token_file, "users");
  EXPECT_EQ(options.access.admin_token_file, "admins");
}

TEST(OptionsTest, SizesTakeBinarySuffixes) {
  EXPECT_EQ(Good({"--kv-cache-bytes", "4096"}).model.kv_cache_bytes, 4096);
  EXPECT_EQ(Good({"--kv-cache-bytes", "2KiB"}).model.kv_cache_bytes, 2048);
  EXPECT_EQ(Good({"--kv-cache-bytes", "5GiB"}).model.kv_cache_bytes, int64_t{5} << 30);
}

TEST(OptionsTest, BadUsageIsOneLineNamingTheFlagAndExitCode2) {
  const struct {
    std::vector<const char*> arguments;
    const char* named;
  } cases[] = {
      {{}, "--model"},
      {{"--model", "m", "--no-such-flag"}, "--no-such-flag"},
      {{"--model", "m", "stray"}, "stray"},
      {{"--model", "m", "--listen", "nowhere"}, "--listen"},
      {{"--model", "m", "--listen", ":1"}, "--listen"},
      {{"--model", "m", "--listen", "a:65536"}, "--listen"},
      {{"--model", "m", "--listen", "a:-1"}, "--listen"},
      {{"--model", "m", "--listen", "a:1x"}, "--listen"},
      {{"--model", "m", "--listen", "http://a:1"}, "--listen"},
      {{"--model", "m", "--dtype", "int8"}, "--dtype"},
      {{"--model", "m", "--threads", "-1"}, "--threads"},
      {{"--model", "m", "--threads", "many"}, "--threads"},
      {{"--model", "m", "--max-batch-sequences", "0"}, "--max-batch-sequences"},
      {{"--model", "m", "--max-batch-tokens", "0"}, "--max-batch-tokens"},
      {{"--model", "m", "--max-queue", "99999999999999999999"}, "--max-queue"},
      {{"--model", "m", "--kv-cache-bytes", "-1"}, "--kv-cache-bytes"},
      {{"--model", "m", "--kv-cache-bytes", "3parsecs"}, "--kv-cache-bytes"},
      {{"--model", "m", "--kv-cache-bytes", "-18446744073709551615"}, "--kv-cache-bytes"},
      {{"--model", "m", "--max-request-memory", "0x40000000"}, "--max-request-memory"},
      {{"--model", "m", "--max-queue", "0x10"}, "--max-queue"},
      {{"--model", "m", "--max-arms", "4.0"}, "--max-arms"},
      {{"--model", "m", "--thread", "4"},
       "--thread: no such flag of olmoe-server; did you mean "
       "--threads?"},
      {{"--model", "m", "--drain-grace", "soon"}, "--drain-grace"},
      {{"--model", "m", "--drain-grace", "-1s"}, "--drain-grace"},
      {{"--model", "m", "--expert-metrics", "all"}, "--expert-metrics"},
      {{"--model", "m", "--log-format", "xml"}, "--log-format"},
      {{"--model", "m", "--request-log", "yes"}, "--request-log"},
      {{"--model", "m", "--tls-cert", "c"}, "--tls-key"},
      {{"--model", "m", "--tls-key", "k"}, "--tls-cert"},
      {{"--model", "m", "--tls-client-ca", "ca"}, "--tls-cert"},
      {{"--model", "m", "--admin-tls-client-ca", "ca"}, "--tls-cert"},
      {{"--model", "m", "--token-file", ""}, "--token-file"},
      {{"--model", "m", "--admin-token-file="}, "--admin-token-file"},
      {{"--model", "m", "--config", "/no/such/file"}, "/no/such/file"},
  };
  for (const auto& test : cases) {
    const CommandLine line = Parse(test.arguments);
    EXPECT_EQ(line.exit_code, 2) << test.named;
    EXPECT_THAT(line.message, StartsWith("olmoe-server: "));
    EXPECT_THAT(line.message, HasSubstr(test.named));
    EXPECT_THAT(line.message, EndsWith("\n"));
    EXPECT_EQ(std::count(line.message.begin(), line.message.end(), '\n'), 1) << line.message;
  }
}

TEST(OptionsTest, HelpAndVersionAreNoErrors) {
  const CommandLine help = Parse({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.message, HasSubstr("--kv-cache-bytes"));
  const CommandLine version = Parse({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_EQ(version.message, std::string("olmoe-server ") + ServerVersion() + "\n");
}

TEST(OptionsTest, EveryPortMayBeAUnixSocket) {
  const Options options = Good({"--listen", "unix:/run/a.sock", "--admin-listen", "unix:relative:0",
                                "--http-listen", "unix:/run/c.sock"});
  EXPECT_EQ(options.listen[0].ToString(), "unix:/run/a.sock");
  EXPECT_EQ(options.admin_listen[0].ToString(), "unix:relative:0");
  EXPECT_EQ(options.http_listen[0].ToString(), "unix:/run/c.sock");
  EXPECT_EQ(options.listen[0].port, 0);
  EXPECT_TRUE(options.listen[0].is_unix());
  EXPECT_EQ(Parse({"--model", "m", "--listen", "unix:"}).exit_code, 2);
}

TEST(OptionsTest, APortMayHaveSeveralAddresses) {
  const Options options = Good({"--listen", "127.0.0.1:1", "--listen", "unix:/run/a.sock"});
  ASSERT_EQ(options.listen.size(), 2u);
  EXPECT_EQ(options.listen[0].ToString(), "127.0.0.1:1");
  EXPECT_EQ(options.listen[1].ToString(), "unix:/run/a.sock");
  EXPECT_EQ(options.admin_listen.size(), 1u);
  const std::string path = ::testing::TempDir() + "/olmoe-addresses.toml";
  std::ofstream(path) << "model = \"m\"\nhttp-listen = [\"[::1]:9464\", \"127.0.0.1:9464\"]\n";
  const CommandLine line = Parse({"--config", path.c_str()});
  ASSERT_FALSE(line.exit_code.has_value()) << line.message;
  ASSERT_EQ(line.options.http_listen.size(), 2u);
  EXPECT_EQ(line.options.http_listen[0].host, "[::1]");
}

TEST(OptionsTest, AConfigFileHoldsTheSameKeysAndFlagsWin) {
  const std::string path = ::testing::TempDir() + "/olmoe-options.toml";
  std::ofstream(path) << "model = \"from-file\"\nmax-queue = 5\nmax-arms = 3\n"
                      << "allow-inline-policy = true\nlisten = \"127.0.0.1:1\"\n";
  const CommandLine line = Parse({"--config", path.c_str(), "--max-queue", "6"});
  ASSERT_FALSE(line.exit_code.has_value()) << line.message;
  EXPECT_EQ(line.options.model.dir, "from-file");
  EXPECT_EQ(line.options.max_queue, 6);
  EXPECT_EQ(line.options.max_arms, 3);
  EXPECT_EQ(line.options.listen[0].port, 1);
  EXPECT_TRUE(line.options.allow_inline_policy);
}

TEST(OptionsTest, AnErrorOfAConfigFileNamesItsFileAndLine) {
  const std::string path = ::testing::TempDir() + "/olmoe-bad.ini";
  const struct {
    const char* text;
    const char* named;
  } cases[] = {
      {"model = m\nmax-quue = 5\n", ":2: \"max-quue\" is no flag; did you mean max-queue?"},
      {"# all of it\n\nmodel = m\nthreads = many\n", ":4: --threads: \"many\" is not a whole"},
      {"model = m\nmax-queue = -1\n", ":2: --max-queue: \"-1\" is not a whole number"},
      {"model = m\nlisten = nowhere\n", ":2: --listen"},
      {"model = m\nallow-inline-policy = perhaps\n", ":2: "},
      {"model = m\ndtype = int8\n", ":2: --dtype"},
      {"model = m\n[serving]\nmax-queue = 5\n", ":2: is not KEY=VALUE"},
      {"model = m\nx\n", ":2: is not KEY=VALUE"},
      {"max-queue = 5\nmodel = m\nmax-queue = 6\n", ":3: max-queue is given in line 1 already"},
      {"model = m\nconfig = other.ini\n", ":2: \"config\" is no flag"},
  };
  for (const auto& test : cases) {
    std::ofstream(path) << test.text;
    const CommandLine line = Parse({"--config", path.c_str()});
    EXPECT_EQ(line.exit_code, 2) << test.text;
    EXPECT_THAT(line.message, HasSubstr(path + test.named));
    EXPECT_EQ(std::count(line.message.begin(), line.message.end(), '\n'), 1) << line.message;
  }
}

TEST(OptionsTest, AConfigFileMayHaveCommentsAndBareFlags) {
  const std::string path = ::testing::TempDir() + "/olmoe-good.ini";
  std::ofstream(path) << "; of the host\nmodel = m  # here\n\nbehind-proxy\nmax-queue = 007\n";
  const CommandLine line = Parse({"--config", path.c_str()});
  ASSERT_FALSE(line.exit_code.has_value()) << line.message;
  EXPECT_EQ(line.options.model.dir, "m");
  EXPECT_TRUE(line.options.behind_proxy);
  EXPECT_EQ(line.options.max_queue, 7);
}

}  // namespace
}  // namespace olmoe
