#ifndef OLMOE_CLIENT_COMMANDS_SESSION_H_
#define OLMOE_CLIENT_COMMANDS_SESSION_H_

#include <memory>
#include <ostream>
#include <string>
#include <type_traits>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/render/style.h"
#include "client/transport/credentials.h"
#include "client/transport/rpc_client.h"

namespace google::protobuf {
class Message;
}

namespace olmoe::client::commands {

// How a run of olmoectl ended, for scripts. Documented in `olmoectl --help`.
enum class ExitCode : int {
  kOk = 0,
  kFailed = 1,       // the call was made and did not succeed, or the output was lost
  kUsage = 2,        // the command line, or a file that it names, cannot be used
  kUnreachable = 3,  // no server there, or one that is not ready
  kRefused = 4,      // the server said no to this request
  kNotAllowed = 5,   // the server said no to this caller
  kInterrupted = 130,  // Ctrl-C, as shells count it: 128 + SIGINT
};

ExitCode ExitCodeFor(const absl::Status& status);

// The flags before or after any command.
struct GlobalOptions {
  std::string server = "127.0.0.1:50051";
  std::string admin = "127.0.0.1:50052";
  transport::CredentialFiles credentials;
  bool json = false;
  double timeout_seconds = 0;  // 0 = no limit
  bool no_color = false;
};

// Where a run reads and writes, and what is at the other end.
struct Console {
  std::istream* in;
  std::ostream* out;
  std::ostream* err;
  bool in_is_terminal = false;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  bool color = true;  // false: NO_COLOR is set
};

// What a command works with: options, console and server. Results go to out(),
// everything else to err(); each of the functions that return an ExitCode ends a
// command. Thread-compatible.
class Session {
 public:
  explicit Session(Console console) : console_(console) {}

  // Constant once the command line is parsed.
  GlobalOptions& options() { return options_; }

  // Reads the files that the options name. Before rpc().
  absl::Status ReadCredentials();
  transport::RpcClient& rpc();

  std::istream& in() { return *console_.in; }
  std::ostream& out() { return *console_.out; }
  std::ostream& err() { return *console_.err; }
  // Somebody is there to be asked.
  bool can_ask() const { return console_.in_is_terminal && console_.err_is_terminal; }
  bool out_is_terminal() const { return console_.out_is_terminal; }
  bool err_is_terminal() const { return console_.err_is_terminal; }
  render::Style out_style() const { return render::Style(UseColor(console_.out_is_terminal)); }
  render::Style err_style() const { return render::Style(UseColor(console_.err_is_terminal)); }

  // `argument` itself, or all of the standard input where it is "-" (without its
  // last line feed). INVALID_ARGUMENT where that is not UTF-8.
  absl::StatusOr<std::string> TextOrInput(const std::string& argument);

  // The text of a file, or of the standard input where `path` is "-".
  // INVALID_ARGUMENT, naming it, where it cannot be read or is not UTF-8.
  absl::StatusOr<std::string> FileOrInput(const std::string& path);

  // What `parse` makes of such a text; its errors begin with the path.
  template <typename Parse>
  std::invoke_result_t<Parse, const std::string&> ParseFile(const std::string& path,
                                                            const Parse& parse) {
    const auto text = FileOrInput(path);
    if (!text.ok()) return text.status();
    auto parsed = parse(*text);
    if (parsed.ok()) return parsed;
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", parsed.status().message()));
  }

  // Prints `message` as JSON: indented on a terminal, else one line.
  ExitCode PrintJson(const google::protobuf::Message& message);
  // The reply to a command's call: as JSON with --json, otherwise what `text` makes of it and of
  // the style of out(). Fails where the call did.
  template <typename Reply, typename Text>
  ExitCode PrintReply(const absl::StatusOr<Reply>& reply, const Text& text) {
    if (!reply.ok()) return Fail(reply.status());
    if (options_.json) return PrintJson(*reply);
    out() << text(*reply, out_style());
    return ExitCode::kOk;
  }
  // Tells why a call failed: code, message and details, and where there is one what helps.
  ExitCode Fail(const absl::Status& status, const std::string& hint = "");
  // Tells what is wrong with the command line, or with a file that it names.
  ExitCode UsageError(const absl::Status& status);
  // Tells what came of it, where no call failed and the command line is right.
  ExitCode Failed(const std::string& what);
  // Flushes out(). kFailed where what was written did not all arrive; silent where
  // the reader has gone (`olmoectl ... | head`).
  ExitCode Finish(ExitCode code);

 private:
  void Tell(const absl::Status& status);
  void WarnOfPlaintext();
  bool UseColor(bool is_terminal) const {
    return is_terminal && console_.color && !options_.no_color;
  }

  const Console console_;
  GlobalOptions options_;
  transport::Credentials credentials_;
  std::unique_ptr<transport::RpcClient> rpc_;
};

}  // namespace olmoe::client::commands

#endif  // OLMOE_CLIENT_COMMANDS_SESSION_H_
