#include "server/util/safetensors_writer.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "glog/logging.h"
#include "nlohmann/json.hpp"

namespace olmoe {
namespace {

constexpr size_t kAlignment = 8;

std::string JsonText(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string LittleEndian64(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

}  // namespace

std::string SafetensorsStart(const std::map<std::string, std::string>& metadata,
                             std::vector<SafetensorsEntry>* entries) {
  std::vector<std::string> fields;
  if (!metadata.empty()) fields.push_back(absl::StrCat("\"__metadata__\":", JsonText(metadata)));
  uint64_t end = 0;
  for (SafetensorsEntry& entry : *entries) {
    entry.offset = end;  // in the data, until the size of the header is known
    entry.bytes = TensorBytes(entry.dtype, entry.shape).value();
    end += entry.bytes;
    fields.push_back(absl::StrCat(JsonText(entry.name), ":{\"dtype\":\"",
                                  std::string(DTypeName(entry.dtype)), "\",\"shape\":[",
                                  absl::StrJoin(entry.shape, ","), "],\"data_offsets\":[",
                                  entry.offset, ",", end, "]}"));
  }
  std::string header = absl::StrCat("{", absl::StrJoin(fields, ","), "}");
  header.resize((header.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  std::string start = LittleEndian64(header.size()) + header;
  for (SafetensorsEntry& entry : *entries) entry.offset += start.size();
  return start;
}

void SafetensorsWriter::Add(std::string name, DType dtype, std::vector<int64_t> shape,
                            std::span<const std::byte> data) {
  entries_.push_back({.name = std::move(name), .dtype = dtype, .shape = std::move(shape)});
  data_.push_back(data);
  CHECK(TensorBytes(dtype, entries_.back().shape) == data.size()) << entries_.back().name;
}

void SafetensorsWriter::SetMetadata(std::map<std::string, std::string> metadata) {
  metadata_ = std::move(metadata);
}

absl::Status SafetensorsWriter::Write(const std::string& path) const {
  const std::string partial = path + ".partial";
  std::vector<SafetensorsEntry> entries = entries_;
  const std::string start = SafetensorsStart(metadata_, &entries);
  std::ofstream file(partial, std::ios::binary | std::ios::trunc);
  file.write(start.data(), static_cast<std::streamsize>(start.size()));
  // Little-endian, as every machine that this runs on.
  for (const std::span<const std::byte> data : data_) {
    file.write(reinterpret_cast<const char*>(data.data()),
               static_cast<std::streamsize>(data.size()));
  }
  file.close();
  if (!file.fail() && std::rename(partial.c_str(), path.c_str()) == 0) return absl::OkStatus();
  const int error = errno;
  std::error_code ignored;
  std::filesystem::remove(partial, ignored);
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": cannot be written: ", std::strerror(error)));
}

}  // namespace olmoe
