#include "server/access/token_file.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/util/sha256.h"

namespace olmoe::access {

absl::StatusOr<std::unique_ptr<TokenFile>> TokenFile::Open(std::string path) {
  std::unique_ptr<TokenFile> file(new TokenFile(std::move(path)));
  absl::MutexLock lock(&file->mu_);
  if (absl::Status status = file->Load(); !status.ok()) return status;
  return file;
}

absl::Status TokenFile::Load() {
  const auto content = file_.Read();
  if (!content.ok()) return content.status();
  std::string digest = Sha256Hex(*content);
  if (digest == content_digest_) return absl::OkStatus();
  auto tokens = TokenList::Parse(*content);
  if (!tokens.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(file_.path(), ": ", tokens.status().message()));
  }
  content_digest_ = std::move(digest);
  tokens_ = std::make_shared<const TokenList>(*std::move(tokens));
  LOG_IF(WARNING, file_.world_readable())
      << file_.path() << " can be read by every user of this machine: chmod 600";
  return absl::OkStatus();
}

std::shared_ptr<const TokenList> TokenFile::Current() {
  absl::MutexLock lock(&mu_);
  if (!file_.MayHaveChanged()) return tokens_;
  const std::shared_ptr<const TokenList> before = tokens_;
  LogNewProblem(Load(), "the tokens before stay good", &told_problem_);
  LOG_IF(INFO, tokens_ != before) << "the tokens of " << file_.path() << " have changed";
  return tokens_;
}

std::optional<std::string> TokenFile::NameOf(std::string_view token) {
  return Current()->NameOf(token);
}

}  // namespace olmoe::access
