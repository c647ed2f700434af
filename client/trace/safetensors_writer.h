#ifndef OLMOE_CLIENT_TRACE_SAFETENSORS_WRITER_H_
#define OLMOE_CLIENT_TRACE_SAFETENSORS_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace olmoe::client::trace {

// A safetensors file: named arrays and a map of strings, written in one piece. Refers
// to the data until Write. Thread-compatible.
class SafetensorsWriter {
 public:
  // `dtype`: as safetensors names it, "F32". The product of `shape` times its size is
  // the size of `data`. Widest types first: then every array is aligned.
  void Add(std::string name, std::string dtype, std::vector<int64_t> shape,
           std::span<const std::byte> data);
  void SetMetadata(std::map<std::string, std::string> metadata) {
    metadata_ = std::move(metadata);
  }

  // Replaces `path` when everything is on disk; an error names the file and leaves
  // what was there.
  absl::Status Write(const std::string& path) const;

 private:
  struct Tensor {
    std::string name, dtype;
    std::vector<int64_t> shape;
    std::span<const std::byte> data;
  };
  std::string Header() const;

  std::vector<Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace olmoe::client::trace

#endif  // OLMOE_CLIENT_TRACE_SAFETENSORS_WRITER_H_
