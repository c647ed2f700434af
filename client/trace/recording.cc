#include "client/trace/recording.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "olmoe/v1/inference.pb.h"
#include "server/util/file_errors.h"
#include "server/util/safetensors.h"
#include "server/util/safetensors_writer.h"

namespace olmoe::client::trace {
namespace {

constexpr char kFormat[] = "olmoe-routing-trace-1";
constexpr char kLayout[] =
    "row r, layer l: experts[offsets[r*layers+l]:offsets[r*layers+l+1]], the same of weights; "
    "logits[r,l,:]; tokens[r] at positions[r] of items[r]";

// Appends the values that `bytes` holds, little-endian.
template <typename T>
void AppendValues(const std::string& bytes, std::vector<T>* values) {
  const size_t before = values->size();
  values->resize(before + bytes.size() / sizeof(T));
  std::memcpy(values->data() + before, bytes.data(), bytes.size());
}

template <typename T>
std::span<const std::byte> BytesOf(const std::vector<T>& values) {
  return std::as_bytes(std::span<const T>(values));
}

// The arrays of a file, one after the other; the first problem is kept.
// Thread-compatible.
class ArrayReader {
 public:
  explicit ArrayReader(const SafetensorsFile& file) : file_(file) {}

  template <typename T>
  void Read(std::string_view name, DType dtype, size_t dimensions, std::vector<int64_t>* shape,
            std::vector<T>* values) {
    const SafetensorsEntry* entry = file_.Find(name);
    if (entry == nullptr || entry->dtype != dtype || entry->shape.size() != dimensions) {
      status_.Update(
          InvalidTensor(file_.path(), name,
                        absl::StrCat("must be ", std::string(DTypeName(dtype)), " of ", dimensions,
                                     dimensions == 1 ? " dimension" : " dimensions")));
      return;
    }
    *shape = entry->shape;
    values->resize(entry->bytes / sizeof(T));
    status_.Update(
        file_.reader().ReadAt(entry->offset, std::as_writable_bytes(std::span<T>(*values))));
  }

  const absl::Status& status() const { return status_; }

 private:
  const SafetensorsFile& file_;
  absl::Status status_;
};

// What holds in every recording; the rest of the code relies on it.
std::string Problem(const Recording& r) {
  const size_t rows = r.num_rows();
  if (r.shape.num_experts < 1 || r.shape.num_experts > routing::kMaxExperts) {
    return absl::StrCat("logits must have 1..", routing::kMaxExperts, " experts");
  }
  const size_t slots = rows * static_cast<size_t>(r.shape.num_layers);
  if (r.positions.size() != rows || r.items.size() != rows || r.counts.size() != slots ||
      r.offsets.size() != slots + 1 || r.experts.size() != r.weights.size() ||
      r.logits.size() != slots * static_cast<size_t>(r.shape.num_experts)) {
    return "the arrays do not have the same number of rows";
  }
  if (r.offsets.front() != 0) return "offsets must start at 0";
  for (size_t slot = 0; slot < slots; ++slot) {
    if (r.offsets[slot + 1] != r.offsets[slot] + r.counts[slot]) {
      return absl::StrCat("offsets[", slot + 1, "] is not what counts say");
    }
  }
  if (static_cast<size_t>(r.offsets.back()) != r.experts.size()) {
    return "offsets do not end with the experts";
  }
  return "";
}

}  // namespace

void AskForTrace(v1::TraceOptions* trace) {
  trace->set_experts(true);
  trace->set_weights(true);
  trace->set_logits(true);
}

absl::Status CheckWhole(const v1::RoutingTrace& trace, const routing::RouterShape& shape,
                        const v1::TraceOptions& asked) {
  const size_t slots = trace.num_positions() * static_cast<size_t>(shape.num_layers);
  const size_t selections =
      std::accumulate(trace.counts().begin(), trace.counts().end(), size_t{0},
                      [](size_t sum, char count) { return sum + static_cast<uint8_t>(count); });
  const size_t weights = asked.weights() ? selections : 0;
  const size_t logits = asked.logits() ? slots * static_cast<size_t>(shape.num_experts) : 0;
  const auto is_expert = [&shape](char id) { return static_cast<uint8_t>(id) < shape.num_experts; };
  if (trace.num_layers() == static_cast<uint32_t>(shape.num_layers) &&
      trace.counts().size() == slots && trace.experts().size() == selections &&
      trace.weights().size() == weights * sizeof(float) &&
      trace.logits().size() == logits * sizeof(float) &&
      std::all_of(trace.experts().begin(), trace.experts().end(), is_expert)) {
    return absl::OkStatus();
  }
  return absl::InternalError("the server's routing trace is not whole");
}

std::span<const uint8_t> Recording::ExpertsOf(size_t slot) const {
  return std::span<const uint8_t>(experts).subspan(static_cast<size_t>(offsets[slot]),
                                                   counts[slot]);
}

std::span<const float> Recording::LogitsOf(size_t slot) const {
  const size_t width = static_cast<size_t>(shape.num_experts);
  return std::span<const float>(logits).subspan(slot * width, width);
}

void Recording::Describe(const v1::GetModelInfoResponse& model, const v1::RoutingStamp& stamp) {
  shape = {.num_layers = static_cast<int>(model.num_layers()),
           .num_experts = static_cast<int>(model.num_experts()),
           .default_k = static_cast<int>(model.default_top_k()),
           .norm_topk_prob = model.norm_topk_prob()};
  metadata = {{"format", kFormat},
              {"layout", kLayout},
              {"model_id", model.model_id()},
              {"weights_digest", model.weights_digest()},
              {"server_version", model.server_version()},
              {"dtype", model.dtype()},
              {"num_layers", absl::StrCat(model.num_layers())},
              {"num_experts", absl::StrCat(model.num_experts())},
              {"default_top_k", absl::StrCat(model.default_top_k())},
              {"norm_topk_prob", model.norm_topk_prob() ? "true" : "false"},
              {"generation", absl::StrCat(stamp.generation())},
              {"arm_id", stamp.arm_id()},
              {"policy_id", stamp.policy_id()},
              {"policy_digest", stamp.policy_digest()}};
}

absl::Status Recording::Append(const v1::RoutingTrace& trace, int32_t item,
                               std::span<const int32_t> row_tokens) {
  v1::TraceOptions all;
  AskForTrace(&all);
  if (auto status = CheckWhole(trace, shape, all); !status.ok()) return status;
  const size_t rows = trace.num_positions();
  if (row_tokens.size() != rows) {
    return absl::InternalError(absl::StrCat("the routing trace has ", rows, " positions for ",
                                            row_tokens.size(), " tokens"));
  }
  for (size_t row = 0; row < rows; ++row) {
    tokens.push_back(row_tokens[row]);
    positions.push_back(static_cast<int32_t>(trace.first_position() + row));
    items.push_back(item);
  }
  for (const char count : trace.counts()) {
    offsets.push_back(offsets.back() + static_cast<uint8_t>(count));
  }
  AppendValues(trace.counts(), &counts);
  AppendValues(trace.experts(), &experts);
  AppendValues(trace.weights(), &weights);
  AppendValues(trace.logits(), &logits);
  return absl::OkStatus();
}

absl::Status Recording::Write(const std::string& path) const {
  const int64_t rows = static_cast<int64_t>(num_rows());
  const int64_t selections = static_cast<int64_t>(experts.size());
  using enum DType;
  SafetensorsWriter writer;
  writer.SetMetadata(metadata);
  writer.Add("offsets", kInt64, {static_cast<int64_t>(offsets.size())}, BytesOf(offsets));
  writer.Add("weights", kFloat32, {selections}, BytesOf(weights));
  writer.Add("logits", kFloat32, {rows, shape.num_layers, shape.num_experts}, BytesOf(logits));
  writer.Add("tokens", kInt32, {rows}, BytesOf(tokens));
  writer.Add("positions", kInt32, {rows}, BytesOf(positions));
  writer.Add("items", kInt32, {rows}, BytesOf(items));
  writer.Add("counts", kUint8, {rows, shape.num_layers}, BytesOf(counts));
  writer.Add("experts", kUint8, {selections}, BytesOf(experts));
  return writer.Write(path);
}

absl::StatusOr<Recording> Recording::Read(const std::string& path) {
  auto file = SafetensorsFile::Open(path);
  if (!file.ok()) return absl::InvalidArgumentError(file.status().message());
  using enum DType;
  Recording r;
  std::vector<int64_t> logits_shape, ignored;
  ArrayReader reader(**file);
  reader.Read("logits", kFloat32, 3, &logits_shape, &r.logits);
  reader.Read("offsets", kInt64, 1, &ignored, &r.offsets);
  reader.Read("weights", kFloat32, 1, &ignored, &r.weights);
  reader.Read("tokens", kInt32, 1, &ignored, &r.tokens);
  reader.Read("positions", kInt32, 1, &ignored, &r.positions);
  reader.Read("items", kInt32, 1, &ignored, &r.items);
  reader.Read("counts", kUint8, 2, &ignored, &r.counts);
  reader.Read("experts", kUint8, 1, &ignored, &r.experts);
  if (!reader.status().ok()) return absl::InvalidArgumentError(reader.status().message());
  r.metadata = (*file)->metadata();
  if (r.metadata["format"] != kFormat) {
    return InvalidFile(path, absl::StrCat("is not a routing trace (", kFormat, ")"));
  }
  int default_k = 0;
  const bool has_k = absl::SimpleAtoi(r.metadata["default_top_k"], &default_k);
  r.shape = {.num_layers = static_cast<int>(std::min<int64_t>(logits_shape[1], 1 << 20)),
             .num_experts = static_cast<int>(std::min<int64_t>(logits_shape[2], 1 << 20)),
             .default_k = default_k,
             .norm_topk_prob = r.metadata["norm_topk_prob"] == "true"};
  if (!has_k || default_k < 1 || default_k > r.shape.num_experts) {
    return InvalidFile(path, "default_top_k of the metadata must be 1..num_experts");
  }
  const std::string problem = Problem(r);
  if (!problem.empty()) return InvalidFile(path, problem);
  return r;
}

}  // namespace olmoe::client::trace
