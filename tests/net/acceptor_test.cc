#include "server/net/acceptor.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/net/sockets.h"
#include "tests/support/temp_folder.h"

namespace olmoe::net {
namespace {

// An acceptor whose connections are kept, greeted by a byte, until the test ends them.
class Port {
 public:
  explicit Port(Acceptor::Options options = {}, const std::string& address = "127.0.0.1:0") {
    auto listener = Listener::Bind(address);
    CHECK(listener.ok()) << listener.status();
    port_ = listener->port();
    options.on_connection = [this](int fd) { Take(fd); };
    auto acceptor = Acceptor::Start(*std::move(listener), std::move(options));
    CHECK(acceptor.ok()) << acceptor.status();
    acceptor_ = *std::move(acceptor);
  }
  ~Port() {
    acceptor_->StopAccepting();
    EndAll();
  }

  Acceptor& acceptor() { return *acceptor_; }
  SocketAddress address() const { return Ipv4("127.0.0.1", port_); }

  Socket NewClient(const char* from = "127.0.0.1") const {
    const SocketAddress source = Ipv4(from, 0);
    return Connect(address(), &source);
  }
  // Whether a new connection is taken; it stays open in `kept`.
  bool Takes(std::vector<Socket>* kept, const char* from = "127.0.0.1") const {
    kept->push_back(NewClient(from));
    return kept->back().Read() == "!";
  }

  // As gRPC ends connections.
  void EndAll() {
    std::vector<Socket> ended;
    absl::MutexLock lock(&mu_);
    ended.swap(taken_);
    for (const Socket& connection : ended) shutdown(connection.fd(), SHUT_RDWR);
  }
  void AwaitConnections(int count) const {
    while (acceptor_->connections() != count) absl::SleepFor(absl::Milliseconds(1));
  }

 private:
  void Take(int fd) {
    absl::MutexLock lock(&mu_);
    taken_.emplace_back(fd).Write("!");
  }

  mutable absl::Mutex mu_;
  std::vector<Socket> taken_ ABSL_GUARDED_BY(mu_);
  int port_ = 0;
  std::unique_ptr<Acceptor> acceptor_;
};

// No descriptor can be made in its scope. Set while nothing else makes one.
class NoDescriptors {
 public:
  NoDescriptors() {
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    rlimit none = before_;
    none.rlim_cur = 3;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  ~NoDescriptors() { CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before_), 0); }

 private:
  rlimit before_;
};

TEST(AcceptorTest, HandsEveryConnectionOn) {
  Port port;
  std::vector<Socket> clients;
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(port.Takes(&clients));
  EXPECT_EQ(port.acceptor().connections(), 20);
}

TEST(AcceptorTest, WhatIsHandedOnDoesNotBlockAndIsClosedOnExec) {
  auto listener = Listener::Bind("127.0.0.1:0");
  ASSERT_TRUE(listener.ok());
  const SocketAddress address = Ipv4("127.0.0.1", listener->port());
  absl::Notification taken;
  int flags = 0, descriptor_flags = 0;
  auto acceptor = Acceptor::Start(*std::move(listener), {.on_connection = [&](int fd) {
    flags = fcntl(fd, F_GETFL);
    descriptor_flags = fcntl(fd, F_GETFD);
    close(fd);
    taken.Notify();
  }});
  ASSERT_TRUE(acceptor.ok());
  const Socket client = Connect(address);
  taken.WaitForNotification();
  EXPECT_NE(flags & O_NONBLOCK, 0);
  EXPECT_NE(descriptor_flags & FD_CLOEXEC, 0);
}

TEST(AcceptorTest, WhatIsTooManyForOneClientIsRefusedAndOthersAreNot) {
  Port port({.limits = {.in_all = 100, .per_client = 3}});
  std::vector<Socket> clients;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(port.Takes(&clients, "127.0.0.2"));
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(port.Takes(&clients, "127.0.0.2"));
  EXPECT_TRUE(port.Takes(&clients, "127.0.0.3"));
  EXPECT_EQ(port.acceptor().connections(), 4);
}

TEST(AcceptorTest, WhatIsTooManyInAllIsRefusedUntilOneHasEnded) {
  Port port({.limits = {.in_all = 3}});
  std::vector<Socket> clients;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(port.Takes(&clients));
  EXPECT_FALSE(port.Takes(&clients));
  port.EndAll();
  port.AwaitConnections(0);
  EXPECT_TRUE(port.Takes(&clients));
}

TEST(AcceptorTest, AConnectionCountsUntilItsOwnerHasClosedIt) {
  Port port({.limits = {.in_all = 1}});
  std::vector<Socket> clients;
  ASSERT_TRUE(port.Takes(&clients));
  const linger at_once = {.l_onoff = 1, .l_linger = 0};
  setsockopt(clients[0].fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  clients[0].Close();  // a reset: the acceptor sees it, the owner does not
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(port.Takes(&clients));
  EXPECT_EQ(port.acceptor().connections(), 1);
  port.EndAll();
  port.AwaitConnections(0);
}

TEST(AcceptorTest, TheConnectionOfAProbeComesInAboveTheLimits) {
  Port port({.limits = {.in_all = 1}});
  std::vector<Socket> clients;
  ASSERT_TRUE(port.Takes(&clients));
  Socket probe(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const SocketAddress from = Ipv4("127.0.0.1", 0), to = port.address();
  ASSERT_EQ(bind(probe.fd(), from.get(), from.size), 0);
  port.acceptor().Expect(probe.Name());
  ASSERT_EQ(connect(probe.fd(), to.get(), to.size), 0);
  EXPECT_EQ(probe.Read(), "!");
  EXPECT_EQ(port.acceptor().connections(), 1);
  port.acceptor().Forget(probe.Name());
  EXPECT_FALSE(port.Takes(&clients));
}

TEST(AcceptorTest, ClientsOfAUnixSocketAreNotToldApart) {
  testing::TempFolder folder;
  const std::string path = folder.File("socket");
  Port port({.limits = {.in_all = 5, .per_client = 1}}, "unix:" + path);
  std::vector<Socket> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(Connect(Unix(path)));
    EXPECT_EQ(clients.back().Read(), "!");
  }
  clients.push_back(Connect(Unix(path)));
  EXPECT_EQ(clients.back().Read(), "");
}

TEST(AcceptorTest, OutOfDescriptorsClientsWaitAndAreTakenLater) {
  Port port({.pause = absl::Milliseconds(1)});
  std::vector<Socket> clients;
  ASSERT_TRUE(port.Takes(&clients));
  // Made before, connected while accept fails.
  Socket waiting(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const SocketAddress to = port.address();
  {
    const NoDescriptors scope;
    ASSERT_EQ(connect(waiting.fd(), to.get(), to.size), 0);
    absl::SleepFor(absl::Milliseconds(20));  // some failures of accept; none is needed
    EXPECT_FALSE(waiting.IsReadable());
  }
  EXPECT_EQ(waiting.Read(), "!");
  EXPECT_TRUE(port.Takes(&clients));
}

TEST(AcceptorTest, ThousandsOfShortConnectionsLeaveNothingBehind) {
  Port port({.limits = {.in_all = 50}});
  const auto storm = [&] {
    for (int i = 0; i < 1000; ++i) {
      const Socket client = port.NewClient();
      if (i % 50 == 0) port.EndAll();
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back(storm);
  for (std::thread& thread : threads) thread.join();
  port.acceptor().StopAccepting();
  port.EndAll();
  port.AwaitConnections(0);
}

TEST(AcceptorTest, AConnectionIsShutDownByTheNameOfItsClient) {
  Port port;
  std::vector<Socket> clients;
  ASSERT_TRUE(port.Takes(&clients));
  ASSERT_TRUE(port.Takes(&clients));
  port.acceptor().ShutDownPeer("ipv4:127.0.0.1:1");  // nobody's
  port.acceptor().ShutDownPeer("");
  port.acceptor().ShutDownPeer(GrpcPeerName(clients[0].Name()));
  EXPECT_EQ(clients[0].Read(), "");
  EXPECT_FALSE(clients[1].IsReadable());
  port.EndAll();
  port.AwaitConnections(0);
  port.acceptor().ShutDownPeer(GrpcPeerName(clients[0].Name()));
}

TEST(AcceptorTest, AfterStopAcceptingClientsAreRefusedAndConnectionsGoOn) {
  Port port;
  std::vector<Socket> clients;
  ASSERT_TRUE(port.Takes(&clients));
  port.acceptor().StopAccepting();
  port.acceptor().StopAccepting();
  EXPECT_EQ(port.NewClient().fd(), -1);
  EXPECT_FALSE(clients[0].IsReadable());
  EXPECT_EQ(port.acceptor().connections(), 1);
}

TEST(AcceptorTest, AnAddressThatSomebodyListensOnIsAnError) {
  auto first = Listener::Bind("127.0.0.1:0");
  ASSERT_TRUE(first.ok());
  auto second = Listener::Bind(first->name());
  if (!second.ok()) return;  // noticed even earlier
  ASSERT_TRUE(first->Listen().ok());
  EXPECT_TRUE(absl::IsUnavailable(
      Acceptor::Start(*std::move(second), {.on_connection = [](int) {}}).status()));
}

TEST(GrpcPeerNameTest, IsTheUriThatGrpcMakes) {
  EXPECT_EQ(GrpcPeerName(Ipv4("127.0.0.1", 54321)), "ipv4:127.0.0.1:54321");
  EXPECT_EQ(GrpcPeerName(Ipv6("::1", 1234)), "ipv6:%5B::1%5D:1234");
  EXPECT_EQ(GrpcPeerName(Ipv6("::ffff:10.0.0.1", 80)), "ipv4:10.0.0.1:80");
  SocketAddress link_local = Ipv6("fe80::1", 80);
  reinterpret_cast<sockaddr_in6&>(link_local.storage).sin6_scope_id = 2;
  EXPECT_EQ(GrpcPeerName(link_local), "ipv6:%5Bfe80::1%252%5D:80");
  EXPECT_EQ(GrpcPeerName(Unix("/run/socket")), "");
}

TEST(IsOnThisMachineTest, LoopbackAndUnixSocketsAre) {
  EXPECT_TRUE(IsOnThisMachine(Ipv4("127.1.2.3", 1)));
  EXPECT_TRUE(IsOnThisMachine(Ipv6("::1", 1)));
  EXPECT_TRUE(IsOnThisMachine(Ipv6("::ffff:127.0.0.1", 1)));
  EXPECT_TRUE(IsOnThisMachine(Unix("")));
  EXPECT_FALSE(IsOnThisMachine(Ipv4("10.0.0.1", 1)));
  EXPECT_FALSE(IsOnThisMachine(Ipv6("2001:db8::1", 1)));
}

}  // namespace
}  // namespace olmoe::net
