#ifndef OLMOE_SERVER_HTTP_STREAM_H_
#define OLMOE_SERVER_HTTP_STREAM_H_

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace olmoe::http {

// The body of an answer that is written as it comes into being. The one side pushes and finishes,
// on any thread and without waiting; the other, the connection, takes what there is. A reader who
// does not keep up loses the stream: what waits for it is bounded. Thread-safe.
class Stream {
 public:
  static constexpr size_t kMaxWaitingBytes = 64 << 10;

  // `on_gone` is called at most once, on the network thread: the reader went before Finish, or was
  // too slow, or the server stops. `on_taken` is called on the network thread each time that
  // something was taken, so that there is all the room again. Neither may wait.
  explicit Stream(std::function<void()> on_gone, std::function<void()> on_taken = nullptr)
      : on_gone_(std::move(on_gone)), on_taken_(std::move(on_taken)) {}

  // False: nothing more will be sent.
  bool Push(std::string_view data);
  // Pushes the beginning of `data` that there is room for, and returns its size: the stream is
  // never lost by that. Where that is not all of it, on_taken follows, or on_gone.
  size_t PushSome(std::string_view data);
  // Everything was pushed.
  void Finish();

  // For the connection.
  struct Piece {
    std::string data;      // all that waits
    bool last = false;     // nothing follows
    bool overrun = false;  // more came than may wait
  };
  // `wake` is called on a pushing thread when there is something to take again, once until it is
  // taken.
  void Attach(std::function<void()> wake);
  Piece Take();
  bool overrun();
  // Ends the stream, for whoever pushes too. Calls on_gone where not all of it was `written`.
  void Detach(bool written);

 private:
  void Wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::function<void()> on_gone_, on_taken_;

  absl::Mutex mu_;
  std::function<void()> wake_ ABSL_GUARDED_BY(mu_);
  std::string waiting_ ABSL_GUARDED_BY(mu_);
  bool woken_ ABSL_GUARDED_BY(mu_) = false;  // and Take is still to come
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  bool overrun_ ABSL_GUARDED_BY(mu_) = false;
  bool detached_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_STREAM_H_
