#ifndef OLMOE_SERVER_ACCESS_TOKEN_FILE_H_
#define OLMOE_SERVER_ACCESS_TOKEN_FILE_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/access/token_list.h"
#include "server/access/watched_file.h"

namespace olmoe::access {

// A file of tokens (token_list.h) that is read again when it changes. One that cannot be
// read then, or holds a bad line, changes nothing and is told once in the log: a slip of
// an editor locks nobody out. So a token is revoked by a file without it, not by no
// file. Thread-safe.
class TokenFile {
 public:
  // Errors: one line that names the file.
  static absl::StatusOr<std::unique_ptr<TokenFile>> Open(std::string path);

  // The owner of `token` by the file as it is now; see TokenList.
  std::optional<std::string> NameOf(std::string_view token);

 private:
  explicit TokenFile(std::string path) : file_(std::move(path)) {}

  absl::Status Load() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::shared_ptr<const TokenList> Current();

  absl::Mutex mu_;
  WatchedFile file_ ABSL_GUARDED_BY(mu_);
  std::string content_digest_ ABSL_GUARDED_BY(mu_);
  std::string told_problem_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const TokenList> tokens_ ABSL_GUARDED_BY(mu_);  // never null once open
};

}  // namespace olmoe::access

#endif  // OLMOE_SERVER_ACCESS_TOKEN_FILE_H_
