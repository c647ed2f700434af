#include "client/trace/trace_file.h"

#include <cstdint>
#include <fstream>
#include <numeric>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/trace/npy.h"
#include "client/trace/recording.h"
#include "google/protobuf/util/json_util.h"
#include "server/util/file_errors.h"

namespace olmoe::client::trace {
namespace {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const std::ifstream file(path, std::ios::binary);
  std::ostringstream read;
  if (file) read << file.rdbuf();  // bad() where that fails: a folder, an I/O error
  if (!file || read.bad()) return InvalidFile(path, "cannot be read");
  return std::move(read).str();
}

absl::Status WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  return file.fail() ? InvalidFile(path, "cannot be written") : absl::OkStatus();
}

template <typename Status>  // protobuf's
std::string MessageOf(const Status& status) {
  return std::string(status.message().data(), status.message().size());
}

absl::StatusOr<v1::RoutingTrace> TraceOfJson(const std::string& json) {
  v1::RoutingTrace trace;
  const auto status = google::protobuf::util::JsonStringToMessage(json, &trace);
  if (!status.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("is not a RoutingTrace in JSON: ", Printable(MessageOf(status))));
  }
  trace.clear_logits();
  if (absl::Status check = CheckTrace(trace); !check.ok()) return check;
  return trace;
}

absl::StatusOr<v1::RoutingTrace> TraceOfRecording(const Recording& recording) {
  if (recording.num_rows() == 0) return absl::InvalidArgumentError("has no rows");
  const int32_t item = recording.items[0], first = recording.positions[0];
  if (first < 0) return absl::InvalidArgumentError("its first position is negative");
  for (size_t row = 0; row < recording.num_rows(); ++row) {
    if (recording.items[row] != item) {
      return absl::InvalidArgumentError(
          "is of several items: only that of one sequence can be replayed");
    }
    if (recording.positions[row] != first + static_cast<int64_t>(row)) {
      return absl::InvalidArgumentError(
          absl::StrCat("its positions do not follow each other: row ", row, " is at ",
                       recording.positions[row], "; only what ran in one window can be replayed"));
    }
  }
  v1::RoutingTrace trace;
  trace.set_first_position(static_cast<uint32_t>(first));
  trace.set_num_positions(static_cast<uint32_t>(recording.num_rows()));
  trace.set_num_layers(static_cast<uint32_t>(recording.shape.num_layers));
  trace.set_counts(recording.counts.data(), recording.counts.size());
  trace.set_experts(recording.experts.data(), recording.experts.size());
  trace.set_weights(recording.weights.data(), recording.weights.size() * sizeof(float));
  return trace;
}

}  // namespace

absl::Status CheckTrace(const v1::RoutingTrace& trace) {
  const uint64_t slots = uint64_t{trace.num_positions()} * trace.num_layers();
  if (slots == 0 || trace.counts().size() != slots) {
    return absl::InvalidArgumentError(absl::StrCat("has ", trace.counts().size(), " counts for ",
                                                   trace.num_positions(), " positions of ",
                                                   trace.num_layers(), " layers"));
  }
  const size_t selections =
      std::accumulate(trace.counts().begin(), trace.counts().end(), size_t{0},
                      [](size_t sum, char count) { return sum + static_cast<uint8_t>(count); });
  if (trace.experts().size() != selections) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", trace.experts().size(), " experts, its counts sum to ", selections));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::RoutingTrace> ReadTrace(const std::string& path) {
  auto bytes = ReadFile(path);
  if (!bytes.ok()) return bytes.status();
  const bool is_json = absl::EndsWithIgnoreCase(path, ".json");
  if (!is_json && !IsNpy(*bytes)) {
    bytes->clear();
    const auto recording = Recording::Read(path);
    if (!recording.ok()) return recording.status();
    auto trace = TraceOfRecording(*recording);
    return trace.ok() ? std::move(trace) : InvalidFile(path, std::string(trace.status().message()));
  }
  auto trace = is_json ? TraceOfJson(*bytes) : TraceOfNpy(*bytes);
  return trace.ok() ? std::move(trace) : InvalidFile(path, std::string(trace.status().message()));
}

absl::Status WriteTrace(const v1::RoutingTrace& trace, const std::string& path) {
  if (absl::EndsWithIgnoreCase(path, ".npy")) {
    const auto bytes = NpyOfTrace(trace);
    if (!bytes.ok()) return InvalidFile(path, std::string(bytes.status().message()));
    return WriteFile(path, *bytes);
  }
  if (!absl::EndsWithIgnoreCase(path, ".json")) {
    return InvalidFile(path, "is to be NAME.json or NAME.npy");
  }
  std::string json;
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = false;
  options.preserve_proto_field_names = true;
  const auto status = google::protobuf::util::MessageToJsonString(trace, &json, options);
  if (!status.ok()) return InvalidFile(path, MessageOf(status));
  return WriteFile(path, json + "\n");
}

}  // namespace olmoe::client::trace
