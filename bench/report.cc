#include "bench/report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/util/file_errors.h"
#include "server/util/file_reader.h"
#include "server/util/json_cursor.h"

namespace olmoe::bench {
namespace {

std::string Number(const nlohmann::ordered_json& row, const char* key, const char* none = "-") {
  const auto found = row.find(key);
  return found == row.end() ? none : absl::StrFormat("%.2f", found->get<double>());
}

std::string AgainstPeer(const nlohmann::ordered_json& row, const std::string& point,
                        const std::map<std::string, double>& peer) {
  const auto found = peer.find(point);
  if (found == peer.end()) return "-";
  const double other = found->second;
  return absl::StrFormat("%.2f (%.2fx)", other, row.at("tokens_per_s").get<double>() / other);
}

}  // namespace

absl::StatusOr<Peers> ReadPeers(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadSmallFile(path, 1 << 20);
  if (!text.ok()) return text.status();
  const absl::StatusOr<JsonDocument> document =
      JsonDocument::Parse(*text, {.max_depth = 2, .max_values = 10'000});
  if (!document.ok()) return WithPath(path, document.status());
  absl::Status first_error;
  Peers peers;
  const JsonCursor root(*document, &first_error);
  root.ForEachField([&](const std::string& name, const JsonCursor& points) {
    points.ForEachField([&](const std::string& point, const JsonCursor& figure) {
      if (figure.Number() <= 0) figure.Fail("must be tokens per second");
      peers[name][point] = figure.Number();
    });
  });
  if (!first_error.ok()) return WithPath(path, first_error);
  return peers;
}

std::string Table(const nlohmann::ordered_json& report, const Peers& peers) {
  std::string out = absl::StrFormat(
      "%s, %s by %s, %d threads: loaded in %.1f s, peak RSS %.2f GiB for %.2f GiB of weights\n"
      "probe: reads %.1f GB/s, computes %.2f TFLOPS (medians)\n\n",
      report.at("model").get<std::string>(), report.at("dtype").get<std::string>(),
      report.at("kernels").get<std::string>(), report.at("threads").get<int>(),
      report.at("load_seconds").get<double>(), report.at("load_peak_rss_gib").get<double>(),
      report.at("weights_gib").get<double>(), report.at("read_gb_per_s").get<double>(),
      report.at("peak_tflops").get<double>());
  absl::StrAppendFormat(&out, "| %-24s | %9s | %9s | %7s | %9s | %8s |", "point", "tok/s",
                        "ms/step", "bw_util", "of peak", "of limit");
  std::string rule = "| --- | ---: | ---: | ---: | ---: | ---: |";
  for (const auto& [name, peer] : peers) {
    absl::StrAppendFormat(&out, " %18s |", name);
    rule += " ---: |";
  }
  absl::StrAppend(&out, "\n", rule, "\n");
  for (const auto& [point, row] : report.at("points").items()) {
    absl::StrAppendFormat(&out, "| %-24s | %9s | %9s | %7s | %9s | %8s |", point,
                          Number(row, "tokens_per_s"), Number(row, "step_ms"),
                          Number(row, "bw_util"), Number(row, "of_peak_flops"),
                          Number(row, "of_limit"));
    for (const auto& [name, peer] : peers) {
      absl::StrAppendFormat(&out, " %18s |", AgainstPeer(row, point, peer));
    }
    out += "\n";
  }
  const auto found = report.find("first_token_of_32_beside_8");
  if (found == report.end()) return out;
  const nlohmann::ordered_json& mixed = *found;
  absl::StrAppendFormat(&out,
                        "\nA 32-token prompt beside 8 decoding streams: its step takes %.2f decode "
                        "steps (%.1f ms against %.1f ms)\n",
                        mixed.at("decode_steps").get<double>(), mixed.at("step_ms").get<double>(),
                        mixed.at("decode_ms").get<double>());
  return out;
}

}  // namespace olmoe::bench
