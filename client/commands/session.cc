#include "client/commands/session.h"

#include <fstream>
#include <istream>
#include <iterator>
#include <ostream>
#include <sstream>
#include <utility>

#include <poll.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "client/notation/text.h"
#include "client/render/errors.h"
#include "client/render/format.h"
#include "client/transport/address.h"
#include "client/transport/interrupt.h"

namespace olmoe::client::commands {
namespace {

// errno of the failed write is not kept by a stream; a pipe without a reader shows.
bool ReaderHasGone() {
  pollfd output{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
  return poll(&output, 1, 0) == 1 && (output.revents & (POLLERR | POLLHUP)) != 0;
}

}  // namespace

ExitCode ExitCodeFor(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk: return ExitCode::kOk;
    case absl::StatusCode::kUnavailable: return ExitCode::kUnreachable;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated: return ExitCode::kNotAllowed;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kUnimplemented: return ExitCode::kRefused;
    default: return ExitCode::kFailed;
  }
}

absl::Status Session::ReadCredentials() {
  auto credentials = transport::ReadCredentials(options_.credentials);
  if (credentials.ok()) credentials_ = *std::move(credentials);
  return credentials.status();
}

void Session::WarnOfPlaintext() {
  if (credentials_.tls || credentials_.token.empty()) return;
  for (const std::string& address : {options_.server, options_.admin}) {
    if (transport::StaysOnThisMachine(address)) continue;
    err() << "olmoectl: warning: a token sent to " << address
          << " can be read on the way: use --ca or --tls\n";
  }
}

transport::RpcClient& Session::rpc() {
  if (!rpc_) {
    WarnOfPlaintext();
    transport::RpcClient::Options options{
        .server = options_.server, .admin = options_.admin, .credentials = std::move(credentials_)};
    // Longer ones would overflow the clock of gRPC's deadlines.
    constexpr double kLongest = 1e9;
    if (options_.timeout_seconds > 0 && options_.timeout_seconds < kLongest) {
      options.timeout = absl::Seconds(options_.timeout_seconds);
    }
    rpc_ = std::make_unique<transport::RpcClient>(std::move(options));
  }
  return *rpc_;
}

absl::StatusOr<std::string> Session::TextOrInput(const std::string& argument) {
  if (argument != "-") return argument;
  std::string text(std::istreambuf_iterator<char>(in()), {});
  if (!text.empty() && text.back() == '\n') text.pop_back();
  if (const std::string bad = notation::CheckUtf8(text); !bad.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("standard input: ", bad));
  }
  return text;
}

absl::StatusOr<std::string> Session::FileOrInput(const std::string& path) {
  if (path == "-") return TextOrInput(path);
  const std::ifstream file(path, std::ios::binary);
  std::ostringstream read;
  if (file) read << file.rdbuf();  // bad() where that fails: a folder, an I/O error
  if (!file || read.bad()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read"));
  }
  std::string text = std::move(read).str();
  if (const std::string bad = notation::CheckUtf8(text); !bad.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", bad));
  }
  return text;
}

ExitCode Session::PrintJson(const google::protobuf::Message& message) {
  out() << render::ToJson(message, out_is_terminal()) << '\n';
  return ExitCode::kOk;
}

ExitCode Session::Fail(const absl::Status& status, const std::string& hint) {
  if (transport::Interrupted()) {
    err() << "olmoectl: interrupted\n";
    return ExitCode::kInterrupted;
  }
  if (options_.json) {
    err() << render::ErrorJson(status, hint) << '\n';
  } else {
    err() << render::ErrorText(status, err_style());
    if (!hint.empty()) err() << "  " << hint << '\n';
  }
  return ExitCodeFor(status);
}

void Session::Tell(const absl::Status& status) {
  if (options_.json) {
    err() << render::ErrorJson(status) << '\n';
  } else {
    err() << err_style().Red("olmoectl: ") << std::string(status.message()) << '\n';
  }
}

ExitCode Session::UsageError(const absl::Status& status) {
  Tell(status);
  return ExitCode::kUsage;
}

ExitCode Session::Failed(const std::string& what) {
  Tell(absl::UnknownError(what));
  return ExitCode::kFailed;
}

ExitCode Session::Finish(ExitCode code) {
  out().flush();
  if (out().good() || code != ExitCode::kOk) return code;
  if (!ReaderHasGone()) err() << "olmoectl: cannot write to the standard output\n";
  return ExitCode::kFailed;
}

}  // namespace olmoe::client::commands
