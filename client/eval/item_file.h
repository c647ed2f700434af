#ifndef OLMOE_CLIENT_EVAL_ITEM_FILE_H_
#define OLMOE_CLIENT_EVAL_ITEM_FILE_H_

#include <fstream>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/eval/dataset.h"
#include "client/eval/result.h"

namespace olmoe::client::eval {

// A file with a line of JSON for each window, document or question under each policy: the numbers
// of one unit by the names of the report's, null where one does not apply. Thread-compatible.
class ItemFile {
 public:
  // Replaces the file. INVALID_ARGUMENT, naming it, where it cannot be written.
  static absl::StatusOr<std::unique_ptr<ItemFile>> Create(const std::string& path);

  // `units`: the results of all units of `dataset`, in their order.
  absl::Status Add(const Dataset& dataset, const Subject& subject,
                   std::span<const UnitResult> units, uint32_t num_layers);

 private:
  explicit ItemFile(const std::string& path) : path_(path), file_(path, std::ios::binary) {}

  const std::string path_;
  std::ofstream file_;
};

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_ITEM_FILE_H_
