#include "client/transport/credentials.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace olmoe::client::transport {
namespace {

// Empty where `path` is.
absl::StatusOr<std::string> ReadFile(const char* flag, const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path, std::ios::binary);
  std::string content(std::istreambuf_iterator<char>(file), {});
  if (!file.bad() && !content.empty()) return content;
  const char* reason = file.is_open() ? "it is empty or cannot be read" : std::strerror(errno);
  return absl::InvalidArgumentError(absl::StrCat(flag, " ", path, ": ", reason));
}

// What HTTP takes as a field's value, less the spaces.
bool IsToken(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](unsigned char c) { return absl::ascii_isgraph(c); });
}

// The first token of a file in the server's format, [NAME:]TOKEN lines, so that the file
// of one side serves the other.
absl::StatusOr<std::string> ReadToken(const std::string& path) {
  const auto content = ReadFile("--token-file", path);
  if (!content.ok() || content->empty()) return content;
  std::vector<std::string> lines = absl::StrSplit(*content, '\n');
  for (std::string& line : lines) {
    absl::StripAsciiWhitespace(&line);
    if (line.empty() || line[0] == '#') continue;
    const std::string token = line.substr(line.find(':') + 1);
    if (IsToken(token)) return token;
    break;
  }
  return absl::InvalidArgumentError(absl::StrCat("--token-file ", path, ": no [NAME:]TOKEN line"));
}

}  // namespace

absl::StatusOr<Credentials> ReadCredentials(const CredentialFiles& files) {
  if (files.cert.empty() != files.key.empty()) {
    return absl::InvalidArgumentError("--cert and --key go together");
  }
  Credentials credentials;
  const auto token = ReadToken(files.token_file);
  if (!token.ok()) return token.status();
  credentials.token = *token;
  struct {
    const char* flag;
    const std::string& path;
    std::string& target;
  } const pems[] = {{"--ca", files.ca, credentials.ca},
                    {"--cert", files.cert, credentials.certificate},
                    {"--key", files.key, credentials.key}};
  for (const auto& pem : pems) {
    auto content = ReadFile(pem.flag, pem.path);
    if (!content.ok()) return content.status();
    pem.target = *std::move(content);
  }
  credentials.tls = files.tls || !files.ca.empty() || !files.cert.empty();
  return credentials;
}

}  // namespace olmoe::client::transport
