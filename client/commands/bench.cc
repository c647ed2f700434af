#include <fstream>
#include <optional>
#include <ostream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/bench/async_calls.h"
#include "client/bench/benchmark.h"
#include "client/bench/comparison.h"
#include "client/bench/report.h"
#include "client/commands/bench_flags.h"
#include "client/commands/command.h"
#include "client/render/format.h"
#include "client/render/progress.h"
#include "client/transport/interrupt.h"

namespace olmoe::client::commands {
namespace {

std::string ProgressLine(const std::string& what, const bench::Runner::Progress& progress) {
  const double seconds = absl::ToDoubleSeconds(progress.elapsed);
  const double rate = seconds > 0 ? static_cast<double>(progress.tokens) / seconds : 0;
  return absl::StrCat(what, render::FormatFixed(seconds, 1), " s  ", progress.requests,
                      " requests, ", progress.in_flight, " under way, ",
                      render::FormatFixed(rate, 0), " tok/s, ", progress.errors, " errors");
}

// One run, or pairs of runs in turns of order. An error: no run could be made.
absl::Status Measure(const BenchOptions& options, bench::Benchmark& benchmark, Session& session,
                     bench::BenchReport* report) {
  render::Progress progress(session.err(), session.err_is_terminal());
  const auto run = [&](bool with_swaps, const std::string& what) {
    return benchmark.Run(with_swaps, [&progress, &what](const bench::Runner::Progress& now) {
      progress.Show(ProgressLine(what, now));
    });
  };
  if (options.paired == 0) {
    auto result = run(!options.swap_every.empty(), "");
    if (result.ok()) report->run = *std::move(result);
    return result.status();
  }
  for (int i = 0; i < options.paired; ++i) {
    bench::RunPair pair{.with_first = i % 2 == 1, .without = {}, .with = {}};
    for (const bool with_swaps : {pair.with_first, !pair.with_first}) {
      auto result = run(with_swaps, absl::StrCat("pair ", i + 1, " of ", options.paired,
                                                 with_swaps ? ", with swaps  " : "  "));
      if (!result.ok()) return result.status();
      result->measurement.units.clear();  // of many pairs, memory for what is not compared
      (with_swaps ? pair.with : pair.without) = *std::move(result);
      if (benchmark.stopped()) return absl::OkStatus();  // half a pair compares nothing
    }
    report->pairs.push_back(std::move(pair));
  }
  return absl::OkStatus();
}

bool IsFailure(const bench::RunResult& run, double max_error_ratio) {
  if (run.measurement.ErrorRatio() > max_error_ratio) return true;
  return run.swaps && (run.swaps->failures > 0 || !run.swaps->not_restored.empty());
}

ExitCode Judge(const BenchOptions& options, const bench::BenchReport& report) {
  if (report.interrupted) return ExitCode::kInterrupted;
  const double most = options.max_error_ratio;
  bool failed = report.run && IsFailure(*report.run, most);
  for (const bench::RunPair& pair : report.pairs) {
    failed = failed || IsFailure(pair.without, most) || IsFailure(pair.with, most);
  }
  if (options.max_p99_ratio) {
    const auto median = bench::MedianP99Ratio(report.pairs, report.seed);
    failed = failed || !median || median->value > *options.max_p99_ratio;
  }
  return failed ? ExitCode::kFailed : ExitCode::kOk;
}

ExitCode Print(const BenchOptions& options, const bench::BenchReport& report,
               std::ofstream* json_file, Session& session) {
  if (session.options().json) {
    session.out() << bench::RenderBenchJson(report, session.out_is_terminal());
  } else {
    session.out() << bench::RenderBench(report, session.out_style());
  }
  if (report.interrupted) session.err() << "olmoectl: interrupted\n";
  const ExitCode code = Judge(options, report);
  if (options.json_out.empty()) return code;
  *json_file << bench::RenderBenchJson(report, /*indent=*/true) << std::flush;
  if (*json_file) return code;
  session.err() << "olmoectl: " << options.json_out << ": cannot be written\n";
  return ExitCode::kFailed;
}

ExitCode RunBenchmark(const BenchOptions& options, const bench::Benchmark::Options& runs,
                      const bench::Traffic& traffic, bench::BenchReport* report, Session& session) {
  bench::SteadyClock clock;
  bench::AsyncCalls calls(session.rpc().options());
  transport::RpcClient::Options admin_options = session.rpc().options();
  admin_options.interruptible = false;
  transport::RpcClient admin(std::move(admin_options));
  bench::Benchmark benchmark(runs, &traffic, &calls, &admin, &clock);
  transport::InterruptScope interrupt([&benchmark] { benchmark.Stop(); });
  const absl::Status status = Measure(options, benchmark, session, report);
  report->interrupted = benchmark.stopped();
  return status.ok() ? ExitCode::kOk : session.Fail(status);
}

// The plan that splits the run's requests; an error: why they are not split, or by what is not
// known. A server may let a caller in who may not read plans.
absl::StatusOr<v1::PlanRecord> ReadPlan(const BenchOptions& options, Session& session) {
  if (!options.arm.empty()) return absl::FailedPreconditionError("requests name their arm");
  if (!options.swap_every.empty()) return absl::FailedPreconditionError("plans are swapped");
  auto routing = session.rpc().GetRouting({});
  if (routing.ok()) return std::move(*routing->mutable_current());
  return absl::Status(routing.status().code(),
                      absl::StrCat("the plan could not be read: ", routing.status().message()));
}

ExitCode Run(const BenchOptions& options, Session& session) {
  auto mix = ReadMix(options, session);
  if (!mix.ok()) return session.UsageError(mix.status());
  // All that is wrong with the policies' form is told before there is a server.
  if (auto swaps = SwapOptions(options, 1); !swaps.ok()) return session.UsageError(swaps.status());
  std::ofstream json_file;
  if (!options.json_out.empty()) json_file.open(options.json_out);
  if (!json_file) {
    return session.UsageError(
        absl::InvalidArgumentError(absl::StrCat(options.json_out, ": cannot be written")));
  }
  auto model = session.rpc().GetModelInfo({});
  if (!model.ok()) return session.Fail(model.status());
  const auto traffic = MakeTraffic(options, *std::move(mix), *model);
  if (!traffic.ok()) return session.UsageError(traffic.status());
  const auto plan = ReadPlan(options, session);
  if (absl::IsCancelled(plan.status())) return session.Fail(plan.status());  // Ctrl-C
  if (plan.ok()) {
    const absl::Status control = CheckControl(options.control, plan->plan());
    if (!control.ok()) return session.UsageError(control);
  }
  const bench::Benchmark::Options runs{.run = RunOptions(options),
                                       .swaps = *SwapOptions(options, model->default_top_k())};
  bench::BenchReport report{.model = *std::move(model),
                            .load = runs.run,
                            .seed = options.seed,
                            .interrupted = false,
                            .run = std::nullopt,
                            .comparison = std::nullopt,
                            .pairs = {}};
  if (auto code = RunBenchmark(options, runs, *traffic, &report, session); code != ExitCode::kOk) {
    return code;
  }
  if (report.run && options.swap_every.empty()) {
    report.comparison = bench::Compare(
        report.run->measurement, plan,
        {.control = options.control, .always_valid = options.always_valid, .seed = options.seed});
  }
  return Print(options, report, &json_file, session);
}

}  // namespace

void AddBench(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<BenchOptions>(app, chosen, "bench",
                           "Generate traffic and measure it, also while the routing is swapped",
                           BenchFlags, Run);
}

}  // namespace olmoe::client::commands
