#include "client/trace/safetensors_writer.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace olmoe::client::trace {
namespace {

absl::Status CannotWrite(const std::string& path) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": cannot be written: ", std::strerror(errno)));
}

}  // namespace

void SafetensorsWriter::Add(std::string name, std::string dtype, std::vector<int64_t> shape,
                            std::span<const std::byte> data) {
  tensors_.push_back({std::move(name), std::move(dtype), std::move(shape), data});
}

std::string SafetensorsWriter::Header() const {
  nlohmann::ordered_json header;
  if (!metadata_.empty()) header["__metadata__"] = metadata_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.data.size()}}};
    offset += tensor.data.size();
  }
  std::string text =
      header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data starts aligned
  return text;
}

absl::Status SafetensorsWriter::Write(const std::string& path) const {
  const std::string partial = path + ".partial";
  const std::string header = Header();
  const uint64_t header_bytes = header.size();
  std::ofstream file(partial, std::ios::binary | std::ios::trunc);
  // Little-endian, as every machine that this runs on.
  file.write(reinterpret_cast<const char*>(&header_bytes), sizeof header_bytes);
  file.write(header.data(), static_cast<std::streamsize>(header.size()));
  for (const Tensor& tensor : tensors_) {
    file.write(reinterpret_cast<const char*>(tensor.data.data()),
               static_cast<std::streamsize>(tensor.data.size()));
  }
  file.close();
  if (file.fail() || std::rename(partial.c_str(), path.c_str()) != 0) {
    const absl::Status status = CannotWrite(path);
    std::error_code ignored;
    std::filesystem::remove(partial, ignored);
    return status;
  }
  return absl::OkStatus();
}

}  // namespace olmoe::client::trace
