#include "server/access/tls_files.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "glog/logging.h"

namespace olmoe::access {

TlsFiles::TlsFiles(Options options)
    : asks_for_client_certificates_(!options.client_ca.empty()),
      cert_(std::move(options.cert)),
      key_(std::move(options.key)),
      client_ca_(std::move(options.client_ca)) {}

absl::StatusOr<std::unique_ptr<TlsFiles>> TlsFiles::Open(Options options) {
  std::unique_ptr<TlsFiles> files(new TlsFiles(std::move(options)));
  absl::MutexLock lock(&files->mu_);
  if (absl::Status status = files->Load(); !status.ok()) return status;
  return files;
}

absl::StatusOr<TlsMaterial> TlsFiles::Read() {
  TlsMaterial material;
  // All of them even where one fails: each remembers what it looked like.
  absl::Status status;
  for (const auto& [file, target] :
       {std::pair(&cert_, &material.certificate_chain), std::pair(&key_, &material.private_key),
        std::pair(&client_ca_, &material.client_ca)}) {
    auto content = file->Read();
    status.Update(content.status());
    if (content.ok()) *target = *std::move(content);
  }
  if (!status.ok()) return status;
  if (asks_for_client_certificates_ && material.client_ca.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(client_ca_.path(), ": the file is empty"));
  }
  return material;
}

absl::Status TlsFiles::Load() {
  auto material = Read();
  if (!material.ok()) return material.status();
  if (material_ != nullptr && *material == *material_) return absl::OkStatus();
  if (absl::Status status = CheckTls(*material); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(cert_.path(), ", ", key_.path(),
                                                   client_ca_.path().empty() ? "" : ", ",
                                                   client_ca_.path(), ": ", status.message()));
  }
  material_ = std::make_shared<const TlsMaterial>(*std::move(material));
  for (const WatchedFile* file : {&cert_, &client_ca_}) {
    const std::string& pem = file == &cert_ ? material_->certificate_chain : material_->client_ca;
    for (const std::string& problem : DateProblems(pem, absl::Now())) {
      LOG(WARNING) << file->path() << ": " << problem << ", so connections fail";
    }
  }
  LOG_IF(WARNING, key_.world_readable())
      << key_.path() << " can be read by every user of this machine: chmod 600";
  return absl::OkStatus();
}

std::shared_ptr<const TlsMaterial> TlsFiles::Current() {
  absl::MutexLock lock(&mu_);
  if (!cert_.MayHaveChanged() && !key_.MayHaveChanged() && !client_ca_.MayHaveChanged()) {
    return material_;
  }
  const std::shared_ptr<const TlsMaterial> before = material_;
  LogNewProblem(Load(), "TLS goes on as before", &told_problem_);
  LOG_IF(INFO, material_ != before) << "new connections get the changed " << cert_.path();
  return material_;
}

}  // namespace olmoe::access
