#ifndef OLMOE_SERVER_ACCESS_TLS_FILES_H_
#define OLMOE_SERVER_ACCESS_TLS_FILES_H_

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/access/tls_material.h"
#include "server/access/watched_file.h"

namespace olmoe::access {

// The certificate, key and client authorities of a port, read again when a file changes.
// Files that do not fit together (a new certificate whose key is still to come) or cannot
// be read change nothing and are told once in the log. Thread-safe.
class TlsFiles {
 public:
  struct Options {
    std::string cert, key;
    std::string client_ca;  // empty: clients need no certificate
  };
  // Errors: one line that names the files.
  static absl::StatusOr<std::unique_ptr<TlsFiles>> Open(Options options);

  bool asks_for_client_certificates() const { return asks_for_client_certificates_; }

  // By the files as they are now. The same object as long as they are the same; never
  // null.
  std::shared_ptr<const TlsMaterial> Current();

 private:
  explicit TlsFiles(Options options);

  absl::StatusOr<TlsMaterial> Read() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Load() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const bool asks_for_client_certificates_;
  absl::Mutex mu_;
  WatchedFile cert_ ABSL_GUARDED_BY(mu_);
  WatchedFile key_ ABSL_GUARDED_BY(mu_);
  WatchedFile client_ca_ ABSL_GUARDED_BY(mu_);
  std::string told_problem_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const TlsMaterial> material_ ABSL_GUARDED_BY(mu_);
};

}  // namespace olmoe::access

#endif  // OLMOE_SERVER_ACCESS_TLS_FILES_H_
