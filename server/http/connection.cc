#include "server/http/connection.h"

#include <cstring>
#include <exception>
#include <string_view>

#include <boost/asio/buffer.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/access/openssl_handles.h"

namespace olmoe::http {
namespace {

using State = RequestParser::State;

// The kernel's part of an answer that is not read. It takes twice as much.
constexpr int kSendBufferBytes = 64 << 10;
// Smaller bodies are bounded by the number of connections.
constexpr size_t kSmallBodyBytes = 16 << 10;

// Of the client's certificate; empty where it showed none.
std::string CertificateName(SSL* tls) {
  const access::Certificate certificate(SSL_get1_peer_certificate(tls));
  if (certificate == nullptr) return "";
  std::array<char, 256> name = {};
  const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()),
                                             NID_commonName, name.data(), name.size());
  if (size <= 0) return "";
  return access::PrintableName({name.data(), static_cast<size_t>(size)});
}

// In the coroutines below, what is given to a co_await has a name: GCC 12 destroys temporaries of
// a conditional expression there twice.

Response MethodNotAllowed(const ServerState::Methods& routes, const Refusal& refusal) {
  Response response = refusal(405, "");
  std::string allow;
  for (const auto& [method, route] : routes) {
    absl::StrAppend(&allow, allow.empty() ? "" : ", ", method, method == "GET" ? ", HEAD" : "");
  }
  response.fields.emplace_back("Allow", std::move(allow));
  return response;
}

}  // namespace

ServerState::ServerState(const ConnectionLimits& limits, std::vector<Route> all_routes,
                         Refusal refuse, std::shared_ptr<const access::Gate> gate,
                         std::shared_ptr<access::TlsFiles> tls_files)
    : io(std::make_shared<asio::io_context>()),
      refusal(std::move(refuse)),
      gate(std::move(gate)),
      tls(std::move(tls_files)),
      table(limits) {
  for (Route& route : all_routes) {
    Methods& methods = route.is_prefix ? prefix_routes[route.path] : routes[route.path];
    methods.emplace(route.method, std::move(route));
  }
}

const ServerState::Methods* ServerState::FindRoutes(const std::string& path) const {
  if (const auto found = routes.find(path); found != routes.end()) return &found->second;
  for (const auto& [prefix, methods] : prefix_routes) {
    if (path.starts_with(prefix)) return &methods;
  }
  return nullptr;
}

Connection::Connection(ServerState* state, Socket socket, std::string address,
                       std::shared_ptr<asio::ssl::context> tls)
    : state_(state),
      socket_(std::move(socket)),
      address_(std::move(address)),
      tls_context_(std::move(tls)),
      buffer_(new char[RequestParser::kBufferBytes]),
      wake_up_(*state->io) {
  error_code ignored;
  socket_.set_option(asio::socket_base::send_buffer_size(kSendBufferBytes), ignored);
  if (tls_context_ != nullptr) tls_.emplace(socket_, *tls_context_);
}

// On the loop that reads and writes: what waits for the socket ends with an error.
void Connection::Close() {
  closed_ = true;
  error_code ignored;
  socket_.close(ignored);
  wake_up_.cancel();
  if (watch_ != nullptr) watch_->Gone();
}

asio::awaitable<void> Connection::Serve(std::shared_ptr<Connection> self) {
  try {
    co_await self->Run();
  } catch (const std::exception& error) {
    LOG_EVERY_T(ERROR, 10) << "HTTP connection: " << error.what();
  }
}

asio::awaitable<void> Connection::Run() {
  bool more = co_await Handshake();
  if (!more) co_return;
  while (more && !closed_) more = co_await ServeOne();
  if (!closed_ && !state_->stopping) co_await Linger();
  Close();  // what is read ahead ends
}

asio::awaitable<bool> Connection::Handshake() {
  if (!tls_) co_return true;
  state_->table.Begin(this, Phase::kHandshake);
  error_code error;
  co_await tls_->async_handshake(asio::ssl::stream_base::server,
                                 redirect_error(use_awaitable, error));
  co_return !error && !closed_;
}

asio::awaitable<size_t> Connection::ReadSome(asio::mutable_buffer into, error_code* error) {
  size_t size = 0;
  if (tls_) {
    size = co_await tls_->async_read_some(into, redirect_error(use_awaitable, *error));
  } else {
    size = co_await socket_.async_read_some(into, redirect_error(use_awaitable, *error));
  }
  co_return size;
}

asio::awaitable<bool> Connection::WriteAll(std::array<asio::const_buffer, 2> buffers) {
  error_code error;
  if (tls_) {
    co_await asio::async_write(*tls_, buffers, redirect_error(use_awaitable, error));
  } else {
    co_await asio::async_write(socket_, buffers, redirect_error(use_awaitable, error));
  }
  co_return !error && !closed_;
}

asio::awaitable<bool> Connection::ServeOne() {
  RequestParser parser;
  const Route* route = nullptr;
  state_->table.Begin(this, unread() > 0 ? Phase::kRequest : Phase::kIdle);
  bool here = co_await ReadPast(State::kHeader, &parser);
  if (!here) co_return false;
  std::optional<Response> response = Refuse(&parser, &route);
  if (!response) {
    co_await Continue(&parser);
    here = co_await ReadPast(State::kBody, &parser);
    if (!here) co_return false;
    if (parser.state() == State::kFailed) response = state_->refusal(parser.error_status(), "");
  }
  const bool http11 = parser.request().http11, with_body = parser.request().method != "HEAD";
  if (!response) response = co_await Handle(*route, &parser);
  // A body that nobody wants is not read, so nothing can follow it.
  const bool has_end = response->stream == nullptr || http11;
  const bool keep =
      parser.state() == State::kDone && parser.keep_alive() && has_end && !state_->stopping;
  const bool written = co_await Write(http11, with_body, *response, keep);
  state_->table.HoldRequest(this, 0);
  co_return written&& keep;
}

asio::awaitable<bool> Connection::ReadPast(State state, RequestParser* parser) {
  for (bool fresh = unread() > 0; parser->state() == state; fresh = false) {
    if (!fresh && unread() == RequestParser::kBufferBytes) {
      parser->Fail(431);  // a chunk line or trailers without an end
      break;
    }
    if (!fresh) {
      const bool read = co_await ReadMore();
      if (!read) co_return false;
    }
    Take(parser);
  }
  co_return true;
}

asio::awaitable<bool> Connection::ReadMore() {
  if (reading_ahead_) {
    const size_t before = end_;
    while (reading_ahead_ && !closed_) co_await Sleep();
    if (closed_ || end_ == before) co_return false;
  } else {
    Compact();
    const asio::mutable_buffer free(&buffer_[end_], RequestParser::kBufferBytes - end_);
    error_code error;
    const size_t size = co_await ReadSome(free, &error);
    if (error || closed_) co_return false;
    end_ += size;
  }
  if (phase() == Phase::kIdle) state_->table.Begin(this, Phase::kRequest);
  co_return true;
}

void Connection::Compact() {
  if (begin_ == 0) return;
  std::memmove(&buffer_[0], &buffer_[begin_], unread());
  end_ -= std::exchange(begin_, 0);
}

void Connection::Take(RequestParser* parser) {
  // A string takes up to twice what is in it.
  const size_t body_bytes = 2 * (parser->request().body.size() + unread());
  if (parser->state() == State::kBody && !state_->table.HoldRequest(this, body_bytes)) {
    return parser->Fail(503);
  }
  begin_ += parser->Feed(std::string_view(&buffer_[begin_], unread()));
}

std::optional<Response> Connection::Refuse(RequestParser* parser, const Route** route) {
  if (parser->state() == State::kFailed) return state_->refusal(parser->error_status(), "");
  const Request& request = parser->request();
  const ServerState::Methods* routes = state_->FindRoutes(request.path);
  if (routes == nullptr) return state_->refusal(404, "");
  const auto found = routes->find(request.method == "HEAD" ? "GET" : request.method);
  if (found == routes->end()) return MethodNotAllowed(*routes, state_->refusal);
  *route = &found->second;
  if (!found->second.open_to_all) {
    if (std::optional<Response> refusal = RefuseCaller(request)) return refusal;
  }
  parser->SetBodyLimit((*route)->max_body_bytes);
  if (parser->state() == State::kFailed) return state_->refusal(parser->error_status(), "");
  const std::string coding = request.Header("Content-Encoding");
  if (!coding.empty() && !absl::EqualsIgnoreCase(coding, "identity")) {
    return state_->refusal(415, "");
  }
  const std::string expected = request.Header("Expect");
  if (!expected.empty() && !absl::EqualsIgnoreCase(expected, "100-continue")) {
    return state_->refusal(417, "");
  }
  return std::nullopt;
}

std::optional<Response> Connection::RefuseCaller(const Request& request) const {
  if (state_->gate == nullptr) return std::nullopt;
  const absl::Status status = state_->gate->Check(request.path, request.Values("Authorization"));
  if (status.ok()) return std::nullopt;
  const bool known = absl::IsPermissionDenied(status);
  Response response = state_->refusal(known ? 403 : 401, std::string(status.message()));
  if (!known) response.fields.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

asio::awaitable<void> Connection::Continue(RequestParser* parser) {
  const Request& request = parser->request();
  const bool waits = request.http11 && unread() == 0 && !request.Header("Expect").empty();
  if (parser->state() != State::kBody || !waits) co_return;
  constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  const std::array<asio::const_buffer, 2> buffers = {asio::buffer(kContinue)};
  co_await WriteAll(buffers);  // where it fails, so does the read that follows
}

std::string Connection::PrincipalOf(const Request& request) {
  std::string name;
  if (state_->gate != nullptr) name = state_->gate->TokenName(request.Values("Authorization"));
  if (name.empty() && tls_) name = CertificateName(tls_->native_handle());
  return name;
}

asio::awaitable<Response> Connection::Handle(const Route& route, RequestParser* parser) {
  answer_.reset();
  watch_ = std::make_shared<ClientWatch>();
  state_->table.Begin(this, Phase::kHandling);
  Request* request = parser->mutable_request();
  request->address = address_;
  request->principal = PrincipalOf(*request);
  // The reply may come late, when there is no connection any more.
  Reply reply(
      [io = state_->io, weak = weak_from_this()](Response response) {
        asio::dispatch(*io, [weak, response = std::move(response)]() mutable {
          const auto self = weak.lock();
          if (self == nullptr || self->closed_) {
            if (response.stream != nullptr) response.stream->Detach(false);
            return;
          }
          self->answer_ = std::move(response);
          self->wake_up_.cancel();
        });
      },
      watch_, state_->refusal);
  try {
    route.handler(std::move(*request), std::move(reply));
  } catch (const std::exception& error) {  // the reply that it dropped says 500
    LOG_EVERY_T(ERROR, 10) << "HTTP " << route.path << ": " << error.what();
  }
  if (watch_->is_watched()) {
    ReadAhead();
  } else {
    watch_.reset();
  }
  while (!answer_ && !closed_) co_await Sleep();
  watch_.reset();
  Response response;
  if (answer_) response = *std::exchange(answer_, std::nullopt);
  co_return response;
}

asio::awaitable<void> Connection::Sleep() {
  wake_up_.expires_at(asio::steady_timer::time_point::max());
  error_code cancelled;
  co_await wake_up_.async_wait(redirect_error(use_awaitable, cancelled));
}

asio::awaitable<bool> Connection::Write(bool http11, bool with_body, const Response& response,
                                        bool keep) {
  const std::string head = ResponseHead(response, http11, keep);
  const Body body = with_body ? response.body : nullptr;
  bool written = false;
  if (response.stream != nullptr && with_body) {
    stream_ = response.stream;
    written = co_await WriteStream(head, stream_.get(), http11);
    stream_.reset();
  } else {
    written = co_await WriteBody(head, body);
  }
  if (response.stream != nullptr) response.stream->Detach(written && with_body);
  co_return written;
}

asio::awaitable<bool> Connection::WriteBody(const std::string& head, const Body& body) {
  const std::array<asio::const_buffer, 2> buffers = {
      asio::buffer(head), body != nullptr ? asio::buffer(*body) : asio::const_buffer()};
  state_->table.Begin(this, Phase::kWriting);
  if (body != nullptr && body->size() > kSmallBodyBytes) state_->table.HoldUnread(this, body);
  const bool written = co_await WriteAll(buffers);
  state_->table.ReleaseUnread(this);
  co_return written;
}

asio::awaitable<bool> Connection::WriteStream(const std::string& head, Stream* stream,
                                              bool in_chunks) {
  // From the network thread too it is a message: the stream's lock is held.
  stream->Attach([io = state_->io, weak = weak_from_this()] {
    asio::post(*io, [weak] {
      if (const auto self = weak.lock(); self != nullptr) self->OnPushed();
    });
  });
  ReadAhead();
  bool good = co_await WritePiece(head);
  for (bool last = false; good && !last;) {
    Stream::Piece piece = stream->Take();
    last = piece.last;
    if (!piece.data.empty()) {
      const std::string text =
          in_chunks ? absl::StrCat(absl::Hex(piece.data.size()), "\r\n", piece.data, "\r\n")
                    : std::move(piece.data);
      good = co_await WritePiece(text);
    } else if (!last) {
      state_->table.Begin(this, Phase::kHandling);
      co_await Sleep();
    }
    good = good && !piece.overrun && !closed_;
  }
  const std::string end = "0\r\n\r\n";
  if (good && in_chunks) good = co_await WritePiece(end);
  co_return good;
}

asio::awaitable<bool> Connection::WritePiece(const std::string& text) {
  state_->table.Begin(this, Phase::kWriting);
  const std::array<asio::const_buffer, 2> buffers = {asio::buffer(text)};
  const bool written = co_await WriteAll(buffers);
  co_return written;
}

// A write that waits for a slow reader ends by Close alone.
void Connection::OnPushed() {
  if (stream_ != nullptr && stream_->overrun()) return Close();
  wake_up_.cancel();
}

void Connection::ReadAhead() {
  if (reading_ahead_ || closed_) return;
  Compact();
  // With a full buffer it will be noticed by writing.
  if (end_ == RequestParser::kBufferBytes) return;
  reading_ahead_ = true;
  const asio::mutable_buffer free(&buffer_[end_], RequestParser::kBufferBytes - end_);
  const auto done = [self = shared_from_this()](const error_code& error, size_t bytes) {
    self->OnReadAhead(static_cast<bool>(error), bytes);
  };
  if (tls_) {
    tls_->async_read_some(free, done);
  } else {
    socket_.async_read_some(free, done);
  }
}

void Connection::OnReadAhead(bool failed, size_t bytes) {
  reading_ahead_ = false;
  end_ += bytes;
  if (failed) return Close();
  if (stream_ != nullptr || watch_ != nullptr) ReadAhead();
  wake_up_.cancel();
}

asio::awaitable<void> Connection::Linger() {
  state_->table.Begin(this, Phase::kLinger);
  error_code error;
  if (tls_) co_await tls_->async_shutdown(redirect_error(use_awaitable, error));
  error.clear();
  socket_.shutdown(asio::socket_base::shutdown_send, error);
  std::array<char, 4096> unwanted;
  while (!error && !closed_) {
    co_await socket_.async_read_some(asio::buffer(unwanted), redirect_error(use_awaitable, error));
  }
}

}  // namespace olmoe::http
