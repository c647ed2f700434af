#include "server/net/listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_folder.h"

namespace olmoe::net {
namespace {

using ::testing::HasSubstr;

// 0, or the errno of connecting.
int Connect(const sockaddr* address, socklen_t size) {
  const int fd = socket(address->sa_family, SOCK_STREAM, 0);
  const int error = connect(fd, address, size) == 0 ? 0 : errno;
  close(fd);
  return error;
}

int ConnectIpv4(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return Connect(reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

int ConnectIpv6(int port) {
  sockaddr_in6 address = {};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  address.sin6_port = htons(static_cast<uint16_t>(port));
  return Connect(reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

int ConnectUnix(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  return Connect(reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

bool HasIpv6() { return Listener::Bind("[::1]:0").ok(); }

TEST(ListenerTest, SeveralAddressesAreOneListener) {
  testing::TempFolder folder;
  const std::string path = folder.File("socket");
  auto listener = Listener::Bind(
      std::vector<std::string>{absl::StrCat("unix:", path), "127.0.0.1:0", "127.0.0.2:0"});
  ASSERT_TRUE(listener.ok()) << listener.status();
  ASSERT_TRUE(listener->Listen().ok());
  EXPECT_EQ(listener->sockets().size(), 3u);
  EXPECT_EQ(listener->port(), listener->addresses()[1].port);
  EXPECT_EQ(ConnectUnix(path), 0);
  EXPECT_EQ(ConnectIpv4(listener->port()), 0);
  EXPECT_EQ(listener->name(),
            absl::StrCat("unix:", path, ", 127.0.0.1:", listener->addresses()[1].port,
                         ", 127.0.0.2:", listener->addresses()[2].port));
  listener->Close();
  EXPECT_EQ(ConnectUnix(path), ENOENT);
  EXPECT_EQ(ConnectIpv4(listener->port()), ECONNREFUSED);
}

TEST(ListenerTest, AnAddressInUseNamesItselfAmongSeveral) {
  const auto first = Listener::Bind("127.0.0.1:0");
  ASSERT_TRUE(first.ok());
  const auto both = Listener::Bind(std::vector<std::string>{"127.0.0.2:0", first->name()});
  EXPECT_THAT(std::string(both.status().message()), HasSubstr(first->name()));
}

TEST(ListenerTest, ConnectionsThatTheServerHasEndedKeepNoPort) {
  auto listener = Listener::Bind("127.0.0.1:0");
  ASSERT_TRUE(listener.ok() && listener->Listen().ok());
  const std::string address = listener->name();
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to = {};
  socklen_t size = sizeof(to);
  ASSERT_EQ(getsockname(listener->sockets()[0], reinterpret_cast<sockaddr*>(&to), &size), 0);
  ASSERT_EQ(connect(client, reinterpret_cast<const sockaddr*>(&to), size), 0);
  const int taken = accept(listener->sockets()[0], nullptr, nullptr);
  ASSERT_GE(taken, 0);
  close(taken);
  char byte = 0;
  EXPECT_EQ(read(client, &byte, 1), 0);
  close(client);
  listener->Close();
  EXPECT_TRUE(Listener::Bind(address).ok());
}

TEST(ListenerTest, ClientsAreRefusedUntilListenAndAfterClose) {
  auto listener = Listener::Bind("127.0.0.1:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_GT(listener->port(), 0);
  EXPECT_EQ(listener->name(), absl::StrCat("127.0.0.1:", listener->port()));
  EXPECT_EQ(ConnectIpv4(listener->port()), ECONNREFUSED);
  ASSERT_TRUE(listener->Listen().ok());
  EXPECT_EQ(ConnectIpv4(listener->port()), 0);
  listener->Close();
  EXPECT_EQ(ConnectIpv4(listener->port()), ECONNREFUSED);
}

TEST(ListenerTest, APortThatSomebodyListensOnIsRefusedByName) {
  auto first = Listener::Bind("127.0.0.1:0");
  ASSERT_TRUE(first.ok() && first->Listen().ok());
  const auto second = Listener::Bind(first->name());
  EXPECT_TRUE(absl::IsUnavailable(second.status()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(first->name()));
}

TEST(ListenerTest, OfTwoThatTookAPortOneListens) {
  auto first = Listener::Bind("127.0.0.1:0");
  ASSERT_TRUE(first.ok());
  auto second = Listener::Bind(first->name());
  if (!second.ok()) return;  // noticed even earlier
  ASSERT_TRUE(first->Listen().ok());
  EXPECT_TRUE(absl::IsUnavailable(second->Listen()));
}

TEST(ListenerTest, WhatIsNoAddressOfThisMachineIsRefused) {
  for (const char* address : {"192.0.2.1:0", "no-such-host.invalid:0", "127.0.0.1", "", ":"}) {
    EXPECT_FALSE(Listener::Bind(address).ok()) << address;
  }
}

TEST(ListenerTest, AllIpv6AddressesMeansThoseOfIpv4Too) {
  if (!HasIpv6()) GTEST_SKIP() << "this machine has no IPv6";
  auto listener = Listener::Bind("[::]:0");
  ASSERT_TRUE(listener.ok() && listener->Listen().ok()) << listener.status();
  EXPECT_EQ(ConnectIpv6(listener->port()), 0);
  EXPECT_EQ(ConnectIpv4(listener->port()), 0);
}

TEST(ListenerTest, AHostNameMeansAllItsAddressesOnOnePort) {
  auto listener = Listener::Bind("localhost:0");
  ASSERT_TRUE(listener.ok() && listener->Listen().ok()) << listener.status();
  EXPECT_EQ(ConnectIpv4(listener->port()), 0);
  EXPECT_EQ(listener->sockets().size() > 1 ? ConnectIpv6(listener->port()) : 0, 0);
}

TEST(ListenerTest, AUnixSocketStandsInItsPlaceFromListenToClose) {
  testing::TempFolder folder;
  const std::string path = folder.File("socket");
  auto listener = Listener::Bind("unix:" + path);
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_EQ(ConnectUnix(path), ENOENT);
  ASSERT_TRUE(listener->Listen().ok());
  EXPECT_EQ(ConnectUnix(path), 0);
  struct stat info = {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0660u);
  listener->Close();
  EXPECT_EQ(ConnectUnix(path), ENOENT);
}

TEST(ListenerTest, AUnixSocketInUseIsRefusedAndOneLeftBehindIsReplaced) {
  testing::TempFolder folder;
  const std::string path = folder.File("socket");
  auto first = Listener::Bind("unix:" + path);
  ASSERT_TRUE(first.ok() && first->Listen().ok());
  EXPECT_TRUE(absl::IsUnavailable(Listener::Bind("unix:" + path).status()));
  EXPECT_EQ(ConnectUnix(path), 0);
  close(first->sockets()[0]);  // as a process that was killed
  auto second = Listener::Bind("unix:" + path);
  ASSERT_TRUE(second.ok() && second->Listen().ok()) << second.status();
  EXPECT_EQ(ConnectUnix(path), 0);
}

TEST(ListenerTest, AFileThatIsNoSocketIsKept) {
  testing::TempFolder folder;
  const std::string path = folder.Write("file", "precious");
  EXPECT_FALSE(Listener::Bind("unix:" + path).ok());
  struct stat info = {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_size, 8);
}

TEST(ListenerTest, APathThatIsTooLongIsRefused) {
  EXPECT_FALSE(Listener::Bind("unix:/tmp/" + std::string(200, 'x')).ok());
  EXPECT_FALSE(Listener::Bind("unix:").ok());
}

sockaddr_storage Ipv6(const char* text) {
  sockaddr_storage storage = {};
  auto& address = reinterpret_cast<sockaddr_in6&>(storage);
  address.sin6_family = AF_INET6;
  EXPECT_EQ(inet_pton(AF_INET6, text, &address.sin6_addr), 1);
  return storage;
}

TEST(ClientAddressTest, IsTheAddressOrTheNetworkOfOneHost) {
  sockaddr_storage storage = {};
  auto& ipv4 = reinterpret_cast<sockaddr_in&>(storage);
  ipv4.sin_family = AF_INET;
  ipv4.sin_addr.s_addr = htonl(0x0A000001);
  EXPECT_EQ(ClientAddress(storage), "10.0.0.1");
  EXPECT_EQ(ClientAddress(Ipv6("::ffff:10.0.0.1")), "10.0.0.1");
  EXPECT_EQ(ClientAddress(Ipv6("2001:db8:1:2::5")), ClientAddress(Ipv6("2001:db8:1:2:9::1")));
  EXPECT_NE(ClientAddress(Ipv6("2001:db8:1:2::5")), ClientAddress(Ipv6("2001:db8:1:3::5")));
  sockaddr_storage local = {};
  local.ss_family = AF_UNIX;
  EXPECT_EQ(ClientAddress(local), "");
}

}  // namespace
}  // namespace olmoe::net
