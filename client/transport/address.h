// Addresses of servers, as --server and --admin take them, and the proxies on the way.
#ifndef OLMOE_CLIENT_TRANSPORT_ADDRESS_H_
#define OLMOE_CLIENT_TRANSPORT_ADDRESS_H_

#include <optional>
#include <string>

namespace olmoe::client::transport {

// What is wrong with `text`, and the form that is right; "" for HOST:PORT, unix:PATH and gRPC's own
// names (dns:///HOST:PORT, ipv4:..., ipv6:..., xds:///...). `port`: of an example.
std::string CheckAddress(const std::string& text, int port);

// Whether what is sent to `address` does not leave this machine.
bool StaysOnThisMachine(const std::string& address);

// The proxy that the environment puts before `address`, as gRPC reads it: "HOST:PORT of
// http_proxy", without a password. There is none before what stays on this machine.
std::optional<std::string> ProxyFor(const std::string& address);

}  // namespace olmoe::client::transport

#endif  // OLMOE_CLIENT_TRANSPORT_ADDRESS_H_
