#include "client/transport/address.h"

#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::transport {
namespace {

using ::testing::HasSubstr;

TEST(CheckAddressTest, TakesHostsSocketsAndNamesOfGrpc) {
  for (const char* address :
       {"localhost:50051", "10.0.0.1:1", "[::1]:65535", "a.b-c.example:443", "unix:/run/a.sock",
        "unix:relative", "unix:///run/a", "dns:///olmoe:50051", "dns://8.8.8.8/olmoe:50051",
        "ipv4:10.0.0.1:50051", "ipv6:[::1]:50051", "xds:///olmoe"}) {
    EXPECT_EQ(CheckAddress(address, 50051), "") << address;
  }
}

TEST(CheckAddressTest, TellsTheRightForm) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"http://localhost:50051", "has a scheme; write localhost:50051"},
      {"http://localhost", "write localhost:50051"},
      {"http://localhost:50051/", "write localhost:50051"},
      {"http://[::1]:7/v1", "write [::1]:7"},
      {"https://olmoe.example:443", "write olmoe.example:443, and --tls or --ca FILE"},
      {"grpc://10.0.0.1:50051", "write 10.0.0.1:50051"},
      {"grpcs://olmoe:50051", "write olmoe:50051, and --tls"},
      {"tcp://olmoe:50051", "write olmoe:50051"},
      {"localhost", "has no port; write localhost:50051"},
      {"localhost:", "has no port; write localhost:50051"},
      {"::1", "has no port; write [::1]:50051"},
      {"[::1]", "write [::1]:50051"},
      {":50051", "is not HOST:PORT; write localhost:50051"},
      {"localhost:0", "is not HOST:PORT; write localhost:50051"},
      {"localhost:65536", "write localhost:50051"},
      {"localhost:grpc", "write localhost:50051"},
      {"localhost:50051/path", "write localhost:50051"},
      {"/run/olmoe.sock", "write unix:/run/olmoe.sock"},
      {"", "write HOST:PORT, such as localhost:50051"},
  };
  for (const auto& [address, message] : cases) {
    EXPECT_THAT(CheckAddress(address, 50051), HasSubstr(message)) << address;
  }
}

TEST(StaysOnThisMachineTest, OnlyLoopbackAndSocketsDo) {
  for (const char* address :
       {"localhost:1", "LocalHost:1", "127.0.0.1:50051", "127.9.9.9:1", "[::1]:50051",
        "unix:/run/olmoe.sock", "dns:///localhost:1", "ipv4:127.0.0.1:50051", "ipv6:[::1]:1"}) {
    EXPECT_TRUE(StaysOnThisMachine(address)) << address;
  }
  for (const char* address : {"10.0.0.1:1", "example.org:50051", "[::]:1", "localhost.org:1", "",
                              "127.example.org:1", "unix.example.org:1", "dns:///olmoe:1"}) {
    EXPECT_FALSE(StaysOnThisMachine(address)) << address;
  }
}

// The variables of proxies are this test's alone.
class ProxyForTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : kNames) {
      if (const char* value = std::getenv(name)) before_[name] = value;
      unsetenv(name);
    }
  }
  void TearDown() override {
    for (const char* name : kNames) unsetenv(name);
    for (const auto& [name, value] : before_) setenv(name.c_str(), value.c_str(), 1);
  }

  static constexpr const char* kNames[] = {"grpc_proxy", "https_proxy", "http_proxy",
                                           "no_grpc_proxy", "no_proxy"};
  std::map<std::string, std::string> before_;
};

TEST_F(ProxyForTest, NamesTheVariableAndNoPassword) {
  EXPECT_EQ(ProxyFor("olmoe:50051"), std::nullopt);
  setenv("http_proxy", "http://user:secret@proxy.example:3128/", 1);
  EXPECT_EQ(ProxyFor("olmoe:50051"), "proxy.example:3128 of http_proxy");
  setenv("https_proxy", "other:8080", 1);
  EXPECT_EQ(ProxyFor("olmoe:50051"), "other:8080 of https_proxy");
  EXPECT_EQ(ProxyFor("127.0.0.1:50051"), std::nullopt);
  EXPECT_EQ(ProxyFor("unix:/run/olmoe"), std::nullopt);
}

TEST_F(ProxyForTest, HostsMayBeExempt) {
  setenv("http_proxy", "http://proxy:3128", 1);
  setenv("no_proxy", "localhost, .internal", 1);
  EXPECT_EQ(ProxyFor("olmoe.internal:50051"), std::nullopt);
  EXPECT_NE(ProxyFor("olmoe.example:50051"), std::nullopt);
}

}  // namespace
}  // namespace olmoe::client::transport
