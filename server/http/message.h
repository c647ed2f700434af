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

// What goes before the body of an answer to a client of HTTP/1.1 or 1.0 whose connection is kept
// or not. A stream is sent to the one in chunks, to the other until the connection ends.
std::string ResponseHead(const Response& response, bool http11, bool keep);

// How a handler answers: once, then or later, on any thread. One that is dropped unanswered says
// 500. Copies are the same reply. Thread-safe.
class Reply {
 public:
  using Sender = std::function<void(Response)>;
  explicit Reply(Sender send) : state_(std::make_shared<State>(std::move(send))) {}

  void Send(Response response) const { state_->Send(std::move(response)); }

 private:
  class State {
   public:
    explicit State(Sender send) : send_(std::move(send)) {}
    ~State();
    void Send(Response response);

   private:
    const Sender send_;
    std::atomic<bool> sent_ = false;
  };
  std::shared_ptr<State> state_;
};

// Runs on the network thread, so it must not wait: what takes time goes to another thread together
// with the reply.
using Handler = std::function<void(const Request& request, Reply reply)>;

// What answers `method` at exactly `path`; where that is GET also HEAD.
struct Route {
  std::string method;
  std::string path;
  Handler handler;
  size_t max_body_bytes = 0;
  bool open_to_all = false;  // asks for no token where others do
};

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_MESSAGE_H_
