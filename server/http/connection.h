// For http_server.cc alone: what is Asio stays in these files.
#ifndef OLMOE_SERVER_HTTP_CONNECTION_H_
#define OLMOE_SERVER_HTTP_CONNECTION_H_

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>  // which Boost 1.74 forgets
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "server/access/gate.h"
#include "server/http/connection_table.h"
#include "server/http/message.h"
#include "server/http/request_parser.h"
#include "server/http/tls_context.h"

namespace olmoe::http {

namespace asio = boost::asio;
using asio::redirect_error;
using asio::use_awaitable;
using boost::system::error_code;
using Socket = asio::generic::stream_protocol::socket;

// What the connections of a server share. Network thread only, but for `io`.
struct ServerState {
  using Methods = std::map<std::string, Route>;  // of one path

  ServerState(const ConnectionLimits& limits, std::vector<Route> all_routes, Refusal refusal,
              std::shared_ptr<const access::Gate> gate,
              std::shared_ptr<access::TlsFiles> tls_files);

  // Null where nothing answers.
  const Methods* FindRoutes(const std::string& path) const;

  // Held by replies too, which may come when the server has gone.
  const std::shared_ptr<asio::io_context> io;
  std::unordered_map<std::string, Methods> routes;  // by path
  std::map<std::string, Methods, std::greater<>> prefix_routes;  // by prefix, longer ones first
  const Refusal refusal;
  const std::shared_ptr<const access::Gate> gate;  // null: every request is let in
  TlsContext tls;
  ConnectionTable table;
  bool stopping = false;  // an answer is a connection's last
};

// One client: reads a request, answers it, reads the next. Requests that are sent ahead stay in
// the kernel. Network thread only.
class Connection final : public ConnectionTable::Member,
                         public std::enable_shared_from_this<Connection> {
 public:
  // `state` outlives it. `address`: of the client, as net::ClientAddress gives it. `tls`: null for
  // plaintext.
  Connection(ServerState* state, Socket socket, std::string address,
             std::shared_ptr<asio::ssl::context> tls);

  // Until either side has enough. Throws nothing.
  static asio::awaitable<void> Serve(std::shared_ptr<Connection> self);

 private:
  template <class T>
  using Async = asio::awaitable<T>;

  void Close() override;

  Async<void> Run();
  // Whether another request may follow.
  Async<bool> ServeOne();
  // Reads until the parser is past `state`. False: the client has gone, or has to.
  Async<bool> ReadPast(RequestParser::State state, RequestParser* parser);
  Async<bool> ReadMore();
  // Gives the parser what was received.
  void Take(RequestParser* parser);
  // What is to be said instead of reading the body; nothing where `route` is to handle it.
  std::optional<Response> Refuse(RequestParser* parser, const Route** route);
  // Whether the request's token opens the port; if not, what is to be said.
  std::optional<Response> RefuseCaller(const Request& request) const;
  // Says that the body may come, to a client that waits for that.
  Async<void> Continue(RequestParser* parser);
  // Hands over the parser's request.
  Async<Response> Handle(const Route& route, RequestParser* parser);
  // The name of the request's token, else of the client's certificate.
  std::string PrincipalOf(const Request& request);
  // Whether all of it was written.
  Async<bool> Write(bool http11, bool with_body, const Response& response, bool keep);
  Async<bool> WriteBody(const std::string& head, const Body& body);
  Async<bool> WriteStream(const std::string& head, Stream* stream, bool in_chunks);
  Async<bool> WritePiece(const std::string& text);
  // Until somebody wakes it.
  Async<void> Sleep();
  // Reads on its own while a stream is written or a client watched, so that it is seen to go; the
  // next
  // ReadMore waits for what has begun.
  void ReadAhead();
  void OnReadAhead(bool failed, size_t bytes);
  // Something was pushed into the stream.
  void OnPushed();
  // Makes room behind what is unread. Not while something is read there.
  void Compact();

  // Of the socket, or of TLS on it.
  Async<size_t> ReadSome(asio::mutable_buffer into, error_code* error);
  Async<bool> WriteAll(std::array<asio::const_buffer, 2> buffers);
  Async<bool> Handshake();
  Async<void> Linger();

  size_t unread() const { return end_ - begin_; }

  ServerState* const state_;
  Socket socket_;
  const std::string address_;
  const std::shared_ptr<asio::ssl::context> tls_context_;  // of tls_
  std::optional<asio::ssl::stream<Socket&>> tls_;
  bool closed_ = false;

  // What was received and not taken yet: [begin_, end_).
  const std::unique_ptr<char[]> buffer_;
  size_t begin_ = 0, end_ = 0;

  std::optional<Response> answer_;  // of the handler
  asio::steady_timer wake_up_;      // never runs out; is cancelled to end Sleep
  std::shared_ptr<ClientWatch> watch_;  // of the request that is handled
  std::shared_ptr<Stream> stream_;      // that is being written
  bool reading_ahead_ = false;      // into the end of the buffer
};

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_CONNECTION_H_
