// The safetensors file format: 8 bytes, the length N of the header (little-endian);
// N bytes of JSON, {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ...,
// "__metadata__": {string: string}}; then the data.
#ifndef OLMOE_SERVER_UTIL_SAFETENSORS_H_
#define OLMOE_SERVER_UTIL_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/util/dtype.h"
#include "server/util/file_reader.h"

namespace olmoe {

// Where one tensor lies in its file.
struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;  // row-major; empty for a scalar
  uint64_t offset = 0;         // of the first byte, from the start of the file
  uint64_t bytes = 0;
};

// As the reference implementation has it.
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;
// More than the largest OlmoeConfig has.
inline constexpr size_t kMaxSafetensorsEntries = 500'000;

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;        // in file order
  std::map<std::string, std::string> metadata;  // "__metadata__"
};

// Parses the JSON of a header. `data_offset` is the position of the data section in
// the file and `data_bytes` its size. It is certain that the dtype of each entry is known,
// that its size is its shape times its dtype, and that together they cover the data
// section exactly, without holes or overlaps. Anything else, duplicate names too, is
// INVALID_ARGUMENT naming the tensor.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json,
                                                         uint64_t data_offset, uint64_t data_bytes);

// A safetensors file whose header has been checked. Opening it reads the header and
// nothing else. Immutable; thread-safe.
class SafetensorsFile {
 public:
  // Errors start with the path.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);

  const std::string& path() const { return reader_->path(); }
  const FileReader& reader() const { return *reader_; }
  // In file order, back to back from data_offset() to the end of the file.
  const std::vector<SafetensorsEntry>& entries() const { return header_.entries; }
  // Null where there is none.
  const SafetensorsEntry* Find(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

  // Length of the header with its 8 bytes of length.
  uint64_t data_offset() const { return data_offset_; }
  // SHA-256 of the first data_offset() bytes, in hexadecimal.
  const std::string& header_digest() const { return header_digest_; }

 private:
  SafetensorsFile() = default;
  absl::Status ReadHeader();

  std::unique_ptr<FileReader> reader_;
  SafetensorsHeader header_;
  uint64_t data_offset_ = 0;
  std::string header_digest_;
};

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_SAFETENSORS_H_
