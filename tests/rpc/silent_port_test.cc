// A port tells when it falls silent, with TLS and without.
#include <grpcpp/impl/service_type.h>
#include <sys/resource.h>

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"
#include "olmoe/v1/admin.grpc.pb.h"
#include "server/rpc/grpc_server.h"
#include "tests/rpc/secured_server.h"

namespace olmoe::rpc {
namespace {

// What a port's probe has last said. Thread-safe.
class LastWord {
 public:
  void Say(bool answers) {
    absl::MutexLock lock(&mu_);
    answers_ = answers;
  }
  void Await(bool answers) const {
    const auto said = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return answers_ == answers; };
    absl::MutexLock lock(&mu_, absl::Condition(&said));
  }

 private:
  mutable absl::Mutex mu_;
  bool answers_ ABSL_GUARDED_BY(mu_) = true;
};

class SilentPortTest : public ::testing::TestWithParam<Transport> {};

TEST_P(SilentPortTest, APortOutOfDescriptorsIsToldAndAnswersAgain) {
  const SecuredServer secured(GetParam());
  LastWord word;
  net::PortProbe::Options probe;
  probe.interval = absl::Milliseconds(10);
  probe.patience = absl::Milliseconds(500);
  probe.on_change = [&word](bool answers) { word.Say(answers); };
  const auto server = GrpcServer::Create(
      BindOrDie(), {.service_name = "x", .access = secured.access().admin, .probe = probe},
      std::make_unique<v1::RoutingAdminService::CallbackService>());
  ASSERT_TRUE(server.ok()) << server.status();
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none = {.rlim_cur = 3, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  word.Await(false);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  word.Await(true);
}

INSTANTIATE_TEST_SUITE_P(Transports, SilentPortTest,
                         ::testing::Values(Transport::kPlaintext, Transport::kTls,
                                           Transport::kMutualTls));

}  // namespace
}  // namespace olmoe::rpc
