#include "client/notation/router_file.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "server/model/checkpoint_files.h"
#include "server/model/convert.h"
#include "server/util/safetensors.h"
#include "server/util/safetensors_writer.h"

namespace olmoe::client::notation {
namespace {

using Files = std::vector<std::unique_ptr<SafetensorsFile>>;

std::string TensorName(uint32_t layer) {
  return absl::StrCat("model.layers.", layer, ".mlp.gate.weight");
}

// nullopt for another tensor.
std::optional<uint32_t> LayerOf(absl::string_view name) {
  uint32_t layer = 0;
  const bool is_router = absl::ConsumePrefix(&name, "model.layers.") &&
                         absl::ConsumeSuffix(&name, ".mlp.gate.weight") &&
                         absl::SimpleAtoi(name, &layer);
  if (!is_router) return std::nullopt;
  return layer;
}

absl::StatusOr<Files> OpenFiles(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return model::OpenCheckpointFiles(path);
  auto file = SafetensorsFile::Open(path);
  if (!file.ok()) return file.status();
  Files files;
  files.push_back(*std::move(file));
  return files;
}

// What is wrong with the tensor, or nothing.
std::string Problem(const SafetensorsEntry& entry, uint32_t layer, const RouterFileShape& shape) {
  if (layer >= shape.num_layers) {
    return absl::StrCat("the model has ", shape.num_layers, " layers");
  }
  if (entry.shape != std::vector<int64_t>{shape.num_experts, shape.hidden_size}) {
    return absl::StrCat("must have shape [", shape.num_experts, ", ", shape.hidden_size, "], has [",
                        absl::StrJoin(entry.shape, ", "), "]");
  }
  if (!IsWeightDType(entry.dtype)) {
    return absl::StrCat("must be F32, BF16 or F16, is ", std::string(DTypeName(entry.dtype)));
  }
  return "";
}

absl::StatusOr<v1::RouterLayer> ReadLayer(const SafetensorsFile& file,
                                          const SafetensorsEntry& entry, uint32_t layer) {
  std::string bytes(entry.bytes, '\0');
  const absl::Status status = file.reader().ReadAt(
      entry.offset, std::as_writable_bytes(std::span(bytes.data(), bytes.size())));
  if (!status.ok()) return status;
  v1::RouterLayer out;
  out.set_layer(layer);
  if (entry.dtype == DType::kBFloat16) {
    out.set_bfloat16(std::move(bytes));
  } else if (entry.dtype == DType::kFloat32) {
    out.set_float32(std::move(bytes));
  } else {
    const size_t count = bytes.size() / DTypeBytes(entry.dtype);
    std::string wide(count * sizeof(float), '\0');
    model::ConvertElements(bytes.data(), entry.dtype, wide.data(), DType::kFloat32, count);
    out.set_float32(std::move(wide));
  }
  return out;
}

}  // namespace

absl::StatusOr<std::vector<v1::RouterLayer>> ReadRouterFile(const std::string& path,
                                                            const RouterFileShape& shape) {
  const absl::StatusOr<Files> files = OpenFiles(path);
  if (!files.ok()) return files.status();
  std::map<uint32_t, std::pair<const SafetensorsFile*, const SafetensorsEntry*>> found;
  std::vector<std::string> problems;
  for (const std::unique_ptr<SafetensorsFile>& file : *files) {
    for (const SafetensorsEntry& entry : file->entries()) {
      const std::optional<uint32_t> layer = LayerOf(entry.name);
      if (!layer) continue;
      std::string problem = Problem(entry, *layer, shape);
      if (!found.try_emplace(*layer, file.get(), &entry).second) problem = "is there twice";
      if (!problem.empty()) problems.push_back(absl::StrCat(entry.name, " ", problem));
    }
  }
  if (found.empty()) problems.push_back(absl::StrCat("has no tensor such as ", TensorName(0)));
  if (!problems.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", absl::StrJoin(problems, "; ")));
  }
  std::vector<v1::RouterLayer> layers;
  for (const auto& [layer, where] : found) {
    auto read = ReadLayer(*where.first, *where.second, layer);
    if (!read.ok()) return read.status();
    layers.push_back(*std::move(read));
  }
  return layers;
}

absl::Status WriteRouterFile(const std::string& path, const std::vector<v1::RouterLayer>& layers,
                             const RouterFileShape& shape) {
  std::vector<const v1::RouterLayer*> sorted;
  for (const v1::RouterLayer& layer : layers) sorted.push_back(&layer);
  // The widest first, as the writer would have it.
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return a->has_float32() > b->has_float32();
  });
  SafetensorsWriter writer;
  writer.SetMetadata({{"format", "pt"}});  // transformers asks for it
  for (const v1::RouterLayer* layer : sorted) {
    const bool wide = layer->has_float32();
    const std::string& bytes = wide ? layer->float32() : layer->bfloat16();
    const DType dtype = wide ? DType::kFloat32 : DType::kBFloat16;
    const std::vector<int64_t> sizes = {shape.num_experts, shape.hidden_size};
    if (bytes.size() != TensorBytes(dtype, sizes)) {
      return absl::InternalError(absl::StrCat("the server's router has ", bytes.size(),
                                              " bytes in layer ", layer->layer()));
    }
    writer.Add(TensorName(layer->layer()), dtype, sizes,
               std::as_bytes(std::span(bytes.data(), bytes.size())));
  }
  return writer.Write(path);
}

}  // namespace olmoe::client::notation
