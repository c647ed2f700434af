#include "server/http/http_server.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <list>
#include <thread>
#include <utility>  // which Boost 1.74 forgets

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>

#include "absl/base/call_once.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/http/connection.h"

namespace olmoe::http {
namespace {

using std::chrono::milliseconds;

// After accept failed: with a descriptor freed for it, and without.
constexpr milliseconds kShortPause(10), kLongPause(100);
constexpr milliseconds kStopCheck(5);
constexpr milliseconds kAsleep(std::chrono::hours(1));  // without a connection

// What accept says of the machine; all else is said of one connection that has gone already.
bool IsExhaustion(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

// One socket of the listener, which keeps it.
struct Acceptor {
  Acceptor(asio::io_context* io, int fd) : descriptor(*io, fd), pause(*io) {}
  ~Acceptor() { Stop(); }
  void Stop() {
    if (descriptor.is_open()) descriptor.release();
    pause.cancel();
  }

  asio::posix::stream_descriptor descriptor;
  asio::steady_timer pause;
};

}  // namespace

class HttpServer::Impl {
 public:
  explicit Impl(Options options)
      : listener_(std::move(options.listener)),
        stop_grace_(options.stop_grace),
        tick_(TickOf(options.limits)),
        accepts_in_a_row_(AcceptsInARow(options.limits)),
        state_(options.limits, std::move(options.routes), std::move(options.refusal),
               std::move(options.gate), std::move(options.tls)),
        timer_(*state_.io) {}
  ~Impl() { Stop(); }

  absl::Status Start();
  void Stop();
  int port() const { return port_; }

 private:
  // So few that a connection has its turn several times before others take its place.
  static size_t AcceptsInARow(const ConnectionLimits& limits) {
    const size_t places = std::min(limits.max_connections, limits.max_connections_per_client);
    return std::clamp<size_t>(places / 8, 1, 64);
  }
  // Fine enough for every limit.
  static milliseconds TickOf(const ConnectionLimits& limits) {
    const milliseconds shortest =
        std::min({limits.handshake, limits.idle, limits.request, limits.answer, limits.linger});
    return std::clamp(shortest / 8, milliseconds(5), milliseconds(250));
  }

  void Loop();
  asio::awaitable<void> AcceptAll(Acceptor* acceptor);
  // Takes the clients that wait. Returns how long to pause before the next.
  milliseconds AcceptSome(int listening);
  void Accept(int fd, const sockaddr_storage& peer);
  asio::awaitable<void> CloseOverdue();
  asio::awaitable<void> StopGently();

  net::Listener listener_;
  int port_ = 0;
  const milliseconds stop_grace_;
  const milliseconds tick_;
  const size_t accepts_in_a_row_;
  absl::once_flag stopped_;
  std::thread thread_;

  // Network thread only.
  ServerState state_;
  std::list<Acceptor> acceptors_;
  asio::steady_timer timer_;
};

absl::Status HttpServer::Impl::Start() {
  if (absl::Status status = listener_.Listen(); !status.ok()) return status;
  port_ = listener_.port();
  for (const int fd : listener_.sockets()) {
    Acceptor& acceptor = acceptors_.emplace_back(state_.io.get(), fd);
    asio::co_spawn(*state_.io, AcceptAll(&acceptor), asio::detached);
  }
  asio::co_spawn(*state_.io, CloseOverdue(), asio::detached);
  thread_ = std::thread([this] { Loop(); });
  return absl::OkStatus();
}

void HttpServer::Impl::Stop() {
  absl::call_once(stopped_, [this] {
    if (!thread_.joinable()) return;
    asio::co_spawn(*state_.io, StopGently(), asio::detached);
    thread_.join();
  });
}

// Ends when nothing is left to do.
void HttpServer::Impl::Loop() {
  for (;;) {
    try {
      state_.io->run();
      return;
    } catch (const std::exception& error) {
      LOG_EVERY_T(ERROR, 10) << "HTTP: " << error.what();
    }
  }
}

asio::awaitable<void> HttpServer::Impl::AcceptAll(Acceptor* acceptor) {
  while (!state_.stopping) {
    error_code error;
    milliseconds pause(0);
    co_await acceptor->descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                                             redirect_error(use_awaitable, error));
    if (state_.stopping) break;
    try {
      pause = error ? kLongPause : AcceptSome(acceptor->descriptor.native_handle());
    } catch (const std::exception& exception) {
      LOG_EVERY_T(ERROR, 10) << "HTTP accept: " << exception.what();
      pause = kLongPause;
    }
    if (pause.count() == 0) continue;
    acceptor->pause.expires_after(pause);
    co_await acceptor->pause.async_wait(redirect_error(use_awaitable, error));
  }
}

milliseconds HttpServer::Impl::AcceptSome(int listening) {
  for (size_t i = 0; i < accepts_in_a_row_; ++i) {
    sockaddr_storage peer = {};
    socklen_t size = sizeof(peer);
    const int fd =
        accept4(listening, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      Accept(fd, peer);
    } else if (errno == EAGAIN) {
      break;
    } else if (IsExhaustion(errno)) {
      LOG_EVERY_T(WARNING, 10) << "HTTP accept: " << std::strerror(errno)
                               << "; the oldest connection is closed for the next";
      return state_.table.EvictOne() ? kShortPause : kLongPause;
    }
  }
  return milliseconds(0);
}

void HttpServer::Impl::Accept(int fd, const sockaddr_storage& peer) {
  error_code error;
  Socket socket(*state_.io);
  socket.assign(asio::generic::stream_protocol(peer.ss_family, 0), fd, error);
  if (error) {
    close(fd);
    return;
  }
  const std::string address = net::ClientAddress(peer);
  auto connection =
      std::make_shared<Connection>(&state_, std::move(socket), address, state_.tls.Current());
  if (!state_.table.Admit(connection.get(), address)) return;
  if (state_.table.size() == 1) timer_.cancel();  // CloseOverdue wakes up
  asio::co_spawn(*state_.io, Connection::Serve(std::move(connection)), asio::detached);
}

asio::awaitable<void> HttpServer::Impl::CloseOverdue() {
  while (!state_.stopping) {
    timer_.expires_after(state_.table.empty() ? kAsleep : tick_);
    error_code cancelled;
    co_await timer_.async_wait(redirect_error(use_awaitable, cancelled));
    try {
      state_.table.CloseOverdue();
    } catch (const std::exception& error) {
      LOG_EVERY_T(ERROR, 10) << "HTTP: " << error.what();
    }
  }
}

asio::awaitable<void> HttpServer::Impl::StopGently() {
  state_.stopping = true;
  for (Acceptor& acceptor : acceptors_) acceptor.Stop();
  listener_.Close();
  timer_.cancel();
  asio::steady_timer check(*state_.io);
  const auto deadline = std::chrono::steady_clock::now() + stop_grace_;
  while (!state_.table.empty() && std::chrono::steady_clock::now() < deadline) {
    state_.table.CloseIdle();
    check.expires_after(kStopCheck);
    error_code ignored;
    co_await check.async_wait(redirect_error(use_awaitable, ignored));
  }
  state_.table.CloseAll();
}

ConnectionLimits HttpServer::DefaultLimits() {
  constexpr rlim_t kReserve = 64, kFewest = 16, kMost = 1024;
  ConnectionLimits limits;
  rlimit files = {};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) files.rlim_cur = kReserve;
  const rlim_t spare = files.rlim_cur - std::min(files.rlim_cur, kReserve);
  limits.max_connections = std::clamp(spare / 4, kFewest, kMost);
  limits.max_connections_per_client = limits.max_connections * 3 / 4;
  return limits;
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Create(Options options) {
  try {
    auto impl = std::make_unique<Impl>(std::move(options));
    if (absl::Status status = impl->Start(); !status.ok()) return status;
    return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
  } catch (const std::exception& error) {  // the standard's and Boost's system_error
    return absl::ResourceExhaustedError(absl::StrCat("cannot start the HTTP port: ", error.what()));
  }
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

int HttpServer::port() const { return impl_->port(); }
void HttpServer::Stop() { impl_->Stop(); }

}  // namespace olmoe::http
