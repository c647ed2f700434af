// What a handler of HttpServer takes and gives.
#ifndef OLMOE_SERVER_HTTP_MESSAGE_H_
#define OLMOE_SERVER_HTTP_MESSAGE_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/http/stream.h"

namespace olmoe::http {

// A body is made once and shared by all who are sent it.
using Body = std::shared_ptr<const std::string>;
using Fields = std::vector<std::pair<std::string, std::string>>;

// All of it has arrived, and it keeps to RFC 9112.
struct Request {
  std::string method;
  std::string path;   // as it was sent: nothing is decoded
  std::string query;  // what follows the '?', if anything
  bool http11 = true;
  Fields fields;  // of the header; trailers are dropped
  std::string body;
  // Who sends it. The name of its token, else of its certificate; empty: it has none.
  std::string principal;
  std::string address;  // net::ClientAddress; empty: on a Unix socket

  // The values of the fields of this name (in any case).
  std::vector<std::string_view> Values(std::string_view name) const;
  // The same as one list: "gzip, br".
  std::string Header(std::string_view name) const;
};

struct Response {
  int status = 200;
  Fields fields;  // Content-Length, Transfer-Encoding and Connection are the server's
  Body body = {};  // null: empty
  std::shared_ptr<Stream> stream = {};  // instead of a body; null: none
};

Response TextResponse(int status, std::string text, const char* type);
// "404 Not Found\n", as text.
Response StatusResponse(int status);
// "Not Found"; empty for those that this server does not send.
const char* ReasonOf(int status);
// The answer to a request that no handler answers. `why`: a sentence for people, or empty.
using Refusal = std::function<Response(int status, std::string_view why)>;
// As a line of text.
Response RefusalText(int status, std::string_view why);

// What goes before the body of an answer to a client of HTTP/1.1 or 1.0 whose connection is kept
// or not. A stream is sent to the one in chunks, to the other until the connection ends.
std::string ResponseHead(const Response& response, bool http11, bool keep);

// Whether the client still waits for its answer. Thread-safe.
class ClientWatch {
 public:
  // `gone` is called at most once, on the network thread and without a lock.
  void Watch(std::function<void()> gone);
  bool is_watched() const;
  // The client has gone, or the server sends it away.
  void Gone();
  // It has its answer: nothing is called from now on.
  void End();

 private:
  mutable absl::Mutex mu_;
  std::function<void()> gone_ ABSL_GUARDED_BY(mu_);
};

// How a handler answers: once, then or later, on any thread. One that is dropped unanswered says
// 500. Copies are the same reply. Thread-safe.
class Reply {
 public:
  using Sender = std::function<void(Response)>;
  explicit Reply(Sender send, std::shared_ptr<ClientWatch> client = nullptr,
                 Refusal refuse = RefusalText)
      : state_(std::make_shared<State>(std::move(send), std::move(client), std::move(refuse))) {}

  void Send(Response response) const { state_->Send(std::move(response)); }
  // Calls `gone` once on the network thread if the client goes, or the server stops, before it is
  // answered; a stream tells itself when its reader goes. `gone` must not wait, and must not keep
  // this reply. REQUIRES: called by the handler, before it returns.
  void OnGone(std::function<void()> gone) const { state_->OnGone(std::move(gone)); }

 private:
  class State {
   public:
    State(Sender send, std::shared_ptr<ClientWatch> client, Refusal refuse)
        : send_(std::move(send)), client_(std::move(client)), refuse_(std::move(refuse)) {}
    ~State();
    void Send(Response response);
    void OnGone(std::function<void()> gone);

   private:
    const Sender send_;
    const std::shared_ptr<ClientWatch> client_;  // null: nobody to watch
    const Refusal refuse_;
    std::atomic<bool> sent_ = false;
  };
  std::shared_ptr<State> state_;
};

// Runs on the network thread, so it must not wait: what takes time goes to another thread together
// with the reply.
using Handler = std::function<void(Request request, Reply reply)>;

// What answers `method` at exactly `path`, or at what begins with it; where that is GET also HEAD.
struct Route {
  std::string method;
  std::string path;
  Handler handler;
  size_t max_body_bytes = 0;
  bool open_to_all = false;  // asks for no token where others do
  bool is_prefix = false;    // of longer paths, which no other route has; the longest counts
};

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_MESSAGE_H_
