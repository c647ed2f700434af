#include "server/net/port_probe.h"

#include <sys/resource.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/net/sockets.h"
#include "tests/support/temp_folder.h"

namespace olmoe::net {
namespace {

// A port whose owner may be made stuck, and what a probe says about it.
class ProbedPort {
 public:
  // Counts up, so that a test can wait for the next word.
  struct Said {
    int silent = 0;
    int answering = 0;
  };

  explicit ProbedPort(const std::string& address = "127.0.0.1:0", ConnectionLimits limits = {}) {
    auto listener = Listener::Bind(address);
    CHECK(listener.ok()) << listener.status();
    address_ = AddressesToReach(*listener).front();
    auto acceptor =
        Acceptor::Start(*std::move(listener), {.limits = limits,
                                               .pause = absl::Milliseconds(1),
                                               .on_connection = [this](int fd) { Take(fd); }});
    CHECK(acceptor.ok()) << acceptor.status();
    acceptor_ = *std::move(acceptor);
    probe_ = std::make_unique<PortProbe>(
        address_, acceptor_.get(),
        PortProbe::Options{.interval = absl::Milliseconds(10),
                           .patience = absl::Milliseconds(200),
                           .on_change = [this](bool answers) { OnChange(answers); }});
  }
  ~ProbedPort() {
    Unhold();
    probe_.reset();
    acceptor_->StopAccepting();
  }

  const SocketAddress& address() const { return address_; }
  // The acceptor's thread gets stuck in its next connection.
  void Hold() {
    absl::MutexLock lock(&mu_);
    held_ = true;
  }
  void Unhold() {
    absl::MutexLock lock(&mu_);
    held_ = false;
  }
  // Waits until so many connections have been taken.
  void AwaitTaken(int count) const {
    const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return num_taken_ >= count; };
    absl::MutexLock lock(&mu_, absl::Condition(&enough));
  }
  void AwaitSilent() const {
    absl::MutexLock lock(
        &mu_, absl::Condition(+[](const bool* answers) { return !*answers; }, &answers_));
  }
  void AwaitAnswering() const { absl::MutexLock lock(&mu_, absl::Condition(&answers_)); }
  void Keep(bool keep) {
    absl::MutexLock lock(&mu_);
    keep_ = keep;
  }

 private:
  void Take(int fd) {
    const auto free = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !held_; };
    absl::MutexLock lock(&mu_, absl::Condition(&free));
    ++num_taken_;
    Socket connection(fd);
    if (keep_) {
      kept_.push_back(std::move(connection));
    } else {
      shutdown(fd, SHUT_RDWR);
    }
  }
  void OnChange(bool answers) {
    absl::MutexLock lock(&mu_);
    answers_ = answers;
  }

  mutable absl::Mutex mu_;
  bool held_ ABSL_GUARDED_BY(mu_) = false;
  bool keep_ ABSL_GUARDED_BY(mu_) = false;
  bool answers_ ABSL_GUARDED_BY(mu_) = true;
  int num_taken_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<Socket> kept_ ABSL_GUARDED_BY(mu_);
  SocketAddress address_;
  std::unique_ptr<Acceptor> acceptor_;
  std::unique_ptr<PortProbe> probe_;
};

TEST(PortProbeTest, APortWhoseAcceptorIsStuckIsSilentUntilItGoesOn) {
  ProbedPort port;
  port.AwaitTaken(3);
  port.Hold();
  port.AwaitSilent();
  port.Unhold();
  port.AwaitAnswering();
}

TEST(PortProbeTest, APortWhoseOwnerDoesNothingWithConnectionsIsSilent) {
  ProbedPort port;
  port.Keep(true);
  port.AwaitSilent();
  port.Keep(false);
  port.AwaitAnswering();
}

TEST(PortProbeTest, APortOutOfDescriptorsIsSilentUntilThereAreSome) {
  ProbedPort port;
  port.AwaitTaken(1);
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none = {.rlim_cur = 3, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  port.AwaitSilent();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  port.AwaitAnswering();
}

TEST(PortProbeTest, AProbeGetsIntoAPortThatIsFull) {
  ProbedPort port("127.0.0.1:0", {.in_all = 0, .per_client = 0, .kept_for_machine = 0});
  EXPECT_EQ(Connect(port.address()).Read(), "");
  port.AwaitTaken(3);  // only probes are
}

TEST(PortProbeTest, EveryKindOfAddressIsReached) {
  for (const char* address : {"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0", "localhost:0"}) {
    if (!Listener::Bind(address).ok()) continue;  // without IPv6
    ProbedPort(address, {.in_all = 0}).AwaitTaken(2);
  }
}

TEST(PortProbeTest, AUnixSocketIsSilentWhereItsFileIsGone) {
  testing::TempFolder folder;
  ProbedPort port(absl::StrCat("unix:", folder.File("socket")), {.in_all = 0});
  port.AwaitTaken(2);
  unlink(folder.File("socket").c_str());
  port.AwaitSilent();
}

}  // namespace
}  // namespace olmoe::net
