// Calls with bytes in place of messages: malformed ones, and services whose protos this
// project does not have (health checking, reflection).
#ifndef OLMOE_TESTS_RPC_GENERIC_CALL_H_
#define OLMOE_TESTS_RPC_GENERIC_CALL_H_

#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include <map>
#include <memory>
#include <string>

namespace olmoe::rpc {

struct GenericReply {
  grpc::Status status;
  std::string bytes;
};

using Metadata = std::multimap<std::string, std::string>;

// `method`: "/package.Service/Method".
GenericReply CallUnary(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                       const std::string& bytes, const Metadata& metadata = {});

// A call on which messages go both ways. Thread-compatible.
class GenericStream {
 public:
  GenericStream(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                const Metadata& metadata = {});
  ~GenericStream();

  bool Write(const std::string& bytes);
  void WritesDone();
  // False at the end of the stream.
  bool Read(std::string* bytes);
  grpc::Status Finish();
  void Cancel();

 private:
  struct Call;
  std::unique_ptr<Call> call_;
};

}  // namespace olmoe::rpc

#endif  // OLMOE_TESTS_RPC_GENERIC_CALL_H_
