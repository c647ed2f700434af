#ifndef OLMOE_SERVER_API_REQUEST_ERRORS_H_
#define OLMOE_SERVER_API_REQUEST_ERRORS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/util/status_details.h"

namespace olmoe::api {

// Everything that is wrong with one request. Violations of fields come first and
// all at once; an error of another kind (a permission, a missing tokenizer) is
// reported only when every field is in range. Thread-compatible.
class RequestErrors {
 public:
  // `description`: "must be 0..20, is 21".
  void Add(std::string field, std::string description);
  // Takes over the violations of an INVALID_ARGUMENT; keeps the first of others.
  // OK is ignored.
  void Add(const absl::Status& status);

  bool empty() const { return num_added_ == 0; }
  // How many errors were added so far, those that are not kept included.
  int num_added() const { return num_added_; }
  absl::Status ToStatus() const;

 private:
  std::vector<FieldViolation> violations_;
  absl::Status other_;
  int num_added_ = 0;
};

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_REQUEST_ERRORS_H_
