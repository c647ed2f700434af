#ifndef OLMOE_SERVER_UTIL_SAFETENSORS_WRITER_H_
#define OLMOE_SERVER_UTIL_SAFETENSORS_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/util/safetensors.h"

namespace olmoe {

// What a safetensors file begins with: the length of the header and the header, filled up so
// that the data, which start behind it, are aligned to 8 bytes. The entries stand in the header
// and in the file in the given order. Sets `offset` and `bytes` of each; REQUIRES: the other
// fields, in UTF-8 and with sizes that fit 64 bits. Widest types first: then every tensor is
// aligned to its elements.
std::string SafetensorsStart(const std::map<std::string, std::string>& metadata,
                             std::vector<SafetensorsEntry>* entries);

// A safetensors file, written in one piece. Refers to the data until Write. Thread-compatible.
class SafetensorsWriter {
 public:
  // REQUIRES: `data` has the size that `dtype` and `shape` say.
  void Add(std::string name, DType dtype, std::vector<int64_t> shape,
           std::span<const std::byte> data);
  void SetMetadata(std::map<std::string, std::string> metadata);

  // Replaces `path` when everything is on disk; an error names the file and leaves what was
  // there.
  absl::Status Write(const std::string& path) const;

 private:
  std::map<std::string, std::string> metadata_;
  std::vector<SafetensorsEntry> entries_;
  std::vector<std::span<const std::byte>> data_;  // of entries_
};

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_SAFETENSORS_WRITER_H_
