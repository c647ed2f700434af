#include "server/net/acceptor.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace olmoe::net {
namespace {

constexpr int kAcceptsAtOnce = 64;  // then the ends of connections are looked at
constexpr std::chrono::milliseconds kFirstLook{5};
constexpr std::chrono::milliseconds kLastLook{320};

// The client learns at once that there is no room, and the kernel keeps nothing of it.
void Reset(int fd) {
  const linger at_once = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  close(fd);
}

// Errors of the one connection that accept would have returned.
bool IsOfTheConnection(int error) {
  switch (error) {
    case ECONNABORTED:
    case EINTR:
    case EPERM:  // a firewall's rule
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH: return true;
    default: return false;
  }
}

// The number is its owner's, who may close it meanwhile: a race that is meant, and that
// ThreadSanitizer would report of fstat.
bool IsStillOpen(int fd, dev_t device, ino_t inode) {
  struct stat info = {};
  return fstatat(fd, "", &info, AT_EMPTY_PATH) == 0 && info.st_dev == device &&
         info.st_ino == inode;
}

bool AddToEpoll(int epoll, int fd, uint32_t events) {
  epoll_event event = {.events = events, .data = {.fd = fd}};
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

absl::Status FromErrno(const char* call) {
  return absl::UnavailableError(
      absl::StrCat("cannot accept connections: ", call, ": ", std::strerror(errno)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::Start(Listener listener, Options options) {
  std::unique_ptr<Acceptor> acceptor(new Acceptor(std::move(listener), std::move(options)));
  if (absl::Status status = acceptor->Open(); !status.ok()) return status;
  acceptor->thread_ = std::thread([self = acceptor.get()] { self->Run(); });
  return acceptor;
}

Acceptor::Acceptor(Listener listener, Options options)
    : options_(std::move(options)), listener_(std::move(listener)) {}

absl::Status Acceptor::Open() {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) return FromErrno("epoll_create1");
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_ < 0 || !AddToEpoll(epoll_, wake_, EPOLLIN)) return FromErrno("eventfd");
  listening_ = listener_.sockets();
  for (const int fd : listening_) {
    if (!AddToEpoll(epoll_, fd, EPOLLIN)) return FromErrno("epoll_ctl");
  }
  return listener_.Listen();
}

Acceptor::~Acceptor() {
  stop_ = true;
  if (thread_.joinable()) {
    Wake();
    thread_.join();
  }
  for (const auto& [duplicate, connection] : connections_) close(duplicate);
  if (wake_ >= 0) close(wake_);
  if (epoll_ >= 0) close(epoll_);
}

void Acceptor::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
}

void Acceptor::StopAccepting() {
  stop_accepting_ = true;
  Wake();
  accepting_ended_.WaitForNotification();
}

void Acceptor::ShutDownPeer(const std::string& peer) {
  absl::MutexLock lock(&mu_);
  if (const auto found = by_peer_.find(peer); found != by_peer_.end()) {
    shutdown(found->second, SHUT_RDWR);
  }
}

void Acceptor::ShutDownAll() {
  absl::MutexLock lock(&mu_);
  for (const auto& [duplicate, connection] : connections_) shutdown(duplicate, SHUT_RDWR);
}

void Acceptor::Expect(const SocketAddress& probe) {
  absl::MutexLock lock(&mu_);
  probes_.emplace(probe.bytes());
}

void Acceptor::Forget(const SocketAddress& probe) {
  absl::MutexLock lock(&mu_);
  probes_.erase(probe.bytes());
}

int Acceptor::connections() const {
  absl::MutexLock lock(&mu_);
  return num_counted_;
}

void Acceptor::Run() {
  constexpr int kEventsAtOnce = 64;
  epoll_event events[kEventsAtOnce];
  while (!stop_) {
    if (stop_accepting_ && !accepting_ended_.HasBeenNotified()) EndAccepting();
    const int count = epoll_wait(epoll_, events, kEventsAtOnce, WaitMilliseconds());
    for (int i = 0; i < count; ++i) OnEvent(events[i].data.fd);
    if (paused_ && Clock::now() >= resume_at_) {
      paused_ = false;
      ArmListener(EPOLLIN);
    }
    if (!ending_.empty()) ForgetEnded();
  }
  if (!accepting_ended_.HasBeenNotified()) EndAccepting();
}

void Acceptor::EndAccepting() {
  listening_.clear();
  listener_.Close();
  accepting_ended_.Notify();
}

int Acceptor::WaitMilliseconds() const {
  auto wait = std::chrono::milliseconds::max();
  if (!ending_.empty()) wait = look_again_;
  if (paused_) {
    const auto pause = std::chrono::ceil<std::chrono::milliseconds>(resume_at_ - Clock::now());
    wait = std::clamp(pause, std::chrono::milliseconds(0), wait);
  }
  return wait == std::chrono::milliseconds::max() ? -1 : static_cast<int>(wait.count());
}

void Acceptor::OnEvent(int fd) {
  if (fd == wake_) {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t size = read(wake_, &count, sizeof(count));
    return;
  }
  if (std::find(listening_.begin(), listening_.end(), fd) != listening_.end()) {
    if (!paused_ && !stop_accepting_) AcceptSome(fd);
    return;
  }
  // The connection is shut, by its client or by its owner, who will close it.
  epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
  ending_.push_back(fd);
  look_again_ = kFirstLook;
}

void Acceptor::AcceptSome(int listening) {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    SocketAddress peer;
    const int fd = accept4(listening, peer.get(), &peer.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0 && Admit(fd, peer)) continue;
    if (fd < 0 && IsOfTheConnection(errno)) continue;
    if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    return Pause(errno);
  }
}

bool Acceptor::Admit(int fd, const SocketAddress& peer) {
  std::string client = ClientAddress(peer.storage);
  bool is_probe = false;
  std::string why_full;
  {
    absl::MutexLock lock(&mu_);
    is_probe = probes_.contains(peer.bytes());
    if (!is_probe) why_full = WhyFull(peer, client);
  }
  if (!why_full.empty()) {
    Reset(fd);
    LOG_EVERY_T(WARNING, 10) << listener_.name() << ": refused a connection: " << why_full;
    return true;
  }
  // Once it is handed on, it may be closed at any time.
  if (!Watch(fd, {.fd = fd,
                  .client = std::move(client),
                  .peer = GrpcPeerName(peer),
                  .counts = !is_probe})) {
    const int error = errno;
    Reset(fd);
    errno = error;
    return false;
  }
  options_.on_connection(fd);
  return true;
}

bool Acceptor::Watch(int fd, Connection connection) {
  struct stat info = {};
  if (fstat(fd, &info) != 0) return false;
  connection.device = info.st_dev;
  connection.inode = info.st_ino;
  const int duplicate = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (duplicate < 0) return false;
  // Without events: only the end is told.
  if (!AddToEpoll(epoll_, duplicate, 0)) {
    const int error = errno;
    close(duplicate);
    errno = error;
    return false;
  }
  absl::MutexLock lock(&mu_);
  Add(duplicate, std::move(connection));
  return true;
}

std::string Acceptor::WhyFull(const SocketAddress& peer, const std::string& client) const {
  const auto found = per_client_.find(client);
  const int of_client = found == per_client_.end() ? 0 : found->second;
  if (!client.empty() && of_client >= options_.limits.per_client) {
    return absl::StrCat(client, " has ", of_client, ", the most of one client");
  }
  const int kept = IsOnThisMachine(peer) ? 0 : options_.limits.kept_for_machine;
  if (num_counted_ >= options_.limits.in_all - kept) {
    return absl::StrCat("there are ", num_counted_, ", the most of this port");
  }
  return "";
}

void Acceptor::Add(int duplicate, Connection connection) {
  if (connection.counts) {
    ++num_counted_;
    ++per_client_[connection.client];
  }
  if (!connection.peer.empty()) by_peer_[connection.peer] = duplicate;
  connections_.emplace(duplicate, std::move(connection));
}

void Acceptor::Remove(int duplicate) {
  const auto found = connections_.find(duplicate);
  const Connection& connection = found->second;
  if (connection.counts) {
    --num_counted_;
    const auto client = per_client_.find(connection.client);
    if (--client->second == 0) per_client_.erase(client);
  }
  // A client that came again from the same address and port has taken the name over.
  const auto peer = by_peer_.find(connection.peer);
  if (peer != by_peer_.end() && peer->second == duplicate) by_peer_.erase(peer);
  connections_.erase(found);
  close(duplicate);
}

void Acceptor::Pause(int error) {
  LOG_EVERY_T(WARNING, 10) << listener_.name() << ": connections wait: " << std::strerror(error);
  paused_ = true;
  resume_at_ = Clock::now() + absl::ToChronoNanoseconds(options_.pause);
  ArmListener(0);
}

void Acceptor::ArmListener(uint32_t events) {
  for (const int fd : listening_) {
    epoll_event event = {.events = events, .data = {.fd = fd}};
    epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
  }
}

// Looks at those that stay open, a call may keep them, less and less often.
void Acceptor::ForgetEnded() {
  absl::MutexLock lock(&mu_);
  const auto end = std::remove_if(ending_.begin(), ending_.end(), [this](int duplicate) {
    mu_.AssertHeld();
    const Connection& connection = connections_.at(duplicate);
    if (IsStillOpen(connection.fd, connection.device, connection.inode)) return false;
    Remove(duplicate);
    return true;
  });
  const bool none_ended = end == ending_.end();
  ending_.erase(end, ending_.end());
  look_again_ = none_ended ? std::min(2 * look_again_, kLastLook) : kFirstLook;
}

}  // namespace olmoe::net
