#include <csignal>
#include <cstdlib>
#include <iostream>

#include <fcntl.h>
#include <unistd.h>

#include "client/app.h"
#include "client/transport/interrupt.h"

namespace olmoe::client {
namespace {

// Where a standard stream is closed, the next socket would get its number and then
// our text. Writing to what is opened here fails, as it should.
void OccupyStandardStreams() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) == -1) open("/dev/null", O_RDONLY);
  }
}

commands::Console StandardConsole() {
  const char* no_color = std::getenv("NO_COLOR");
  return {.in = &std::cin,
          .out = &std::cout,
          .err = &std::cerr,
          .in_is_terminal = isatty(STDIN_FILENO) == 1,
          .out_is_terminal = isatty(STDOUT_FILENO) == 1,
          .err_is_terminal = isatty(STDERR_FILENO) == 1,
          .color = no_color == nullptr || *no_color == '\0'};
}

}  // namespace
}  // namespace olmoe::client

int main(int argc, char** argv) {
  using namespace olmoe::client;
  OccupyStandardStreams();
  // What gRPC logs of a failed handshake is in the error that we print, which may be JSON.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  std::signal(SIGPIPE, SIG_IGN);  // a reader that goes away is a failed write, not a crash
  transport::InstallInterrupt();
  return static_cast<int>(RunApp({argv + 1, argv + argc}, StandardConsole()));
}
