#ifndef OLMOE_CLIENT_TRANSPORT_INTERRUPT_H_
#define OLMOE_CLIENT_TRANSPORT_INTERRUPT_H_

#include <functional>

namespace olmoe::client::transport {

// Ctrl-C cancels the call in progress, so that the server frees what the call
// holds; without a call, or the second time, it ends the process with 130. The
// signal is taken by a thread of its own, because cancelling a gRPC call is not
// allowed in a signal handler.

// Call first in main, before any other thread exists. No effect where the parent
// ignores SIGINT (nohup, background jobs of a script).
void InstallInterrupt();

// True once Ctrl-C has cancelled a call.
bool Interrupted();

// While one of these lives, Ctrl-C runs `cancel`, on another thread. Scopes do not
// nest. Thread-compatible.
class InterruptScope {
 public:
  explicit InterruptScope(std::function<void()> cancel);
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
};

}  // namespace olmoe::client::transport

#endif  // OLMOE_CLIENT_TRANSPORT_INTERRUPT_H_
