#ifndef OLMOE_CLIENT_TRANSPORT_CHANNEL_H_
#define OLMOE_CLIENT_TRANSPORT_CHANNEL_H_

#include <memory>
#include <string>

#include "client/transport/credentials.h"
#include "grpcpp/channel.h"

namespace olmoe::client::transport {

// A channel to `address`, "host:port", by TLS or plaintext as the credentials say; every
// call on it carries their token. Connects when it is used.
std::shared_ptr<grpc::Channel> Connect(const std::string& address,
                                       const Credentials& credentials);

}  // namespace olmoe::client::transport

#endif  // OLMOE_CLIENT_TRANSPORT_CHANNEL_H_
