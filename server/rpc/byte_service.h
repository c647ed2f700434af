#ifndef OLMOE_SERVER_RPC_BYTE_SERVICE_H_
#define OLMOE_SERVER_RPC_BYTE_SERVICE_H_

#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/server_context.h>

#include <functional>
#include <map>
#include <string>

#include "glog/logging.h"
#include "google/protobuf/descriptor.h"
#include "server/rpc/bounded_call.h"

namespace olmoe::rpc {

// What begins a call of each method, by its name in the .proto.
using MethodStarts =
    std::map<std::string, std::function<ByteReactor*(grpc::CallbackServerContext*)>>;

// A generated service all of whose methods, unary ones too, are entered when a call's headers
// have come, and read and write raw bytes (wire.h). gRPC's own unary handlers run only when the
// whole message is in memory: too late to refuse it. On the wire a unary call is a stream of one
// message each way, so clients see no difference. Thread-safe.
template <class Generated>
class ByteService final : public Generated::Service {
 public:
  // `starts` has every method of `service`.
  ByteService(const google::protobuf::ServiceDescriptor& service, const MethodStarts& starts) {
    CHECK_EQ(starts.size(), static_cast<size_t>(service.method_count()));
    for (int i = 0; i < service.method_count(); ++i) {
      const auto& start = starts.at(service.method(i)->name());
      // The first makes a stream of the method, the second gives it bytes; each owns its handler.
      this->MarkMethodStreamed(i, new Handler(start));
      this->MarkMethodRawCallback(i, new Handler(start));
    }
  }

 private:
  using Handler = grpc::internal::CallbackBidiHandler<grpc::ByteBuffer, grpc::ByteBuffer>;
};

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_BYTE_SERVICE_H_
