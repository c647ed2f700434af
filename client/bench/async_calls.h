#ifndef OLMOE_CLIENT_BENCH_ASYNC_CALLS_H_
#define OLMOE_CLIENT_BENCH_ASYNC_CALLS_H_

#include <memory>

#include "client/bench/target.h"
#include "client/transport/rpc_client.h"

namespace olmoe::client::bench {

// Any number of calls at a time on one connection and the few threads of gRPC's callback
// API, none of which waits for a call. Statuses are those of RpcClient. Thread-safe.
class AsyncCalls final : public Target {
 public:
  explicit AsyncCalls(const transport::RpcClient::Options& options);
  ~AsyncCalls() override;  // cancels what is left and waits for its end

  void Generate(const v1::GenerateRequest& request, OnEvent on_event, OnDone on_done) override;
  void Score(const v1::ScoreRequest& request, OnScored on_scored) override;
  void CancelAll() override;

 private:
  struct Connection;
  const std::unique_ptr<Connection> connection_;
};

}  // namespace olmoe::client::bench

#endif  // OLMOE_CLIENT_BENCH_ASYNC_CALLS_H_
