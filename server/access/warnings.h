#ifndef OLMOE_SERVER_ACCESS_WARNINGS_H_
#define OLMOE_SERVER_ACCESS_WARNINGS_H_

#include <string>
#include <vector>

#include "server/access/access_files.h"

namespace olmoe::access {

// Whether only this machine reaches a port of this host: "localhost", 127.0.0.0/8, "::1"
// with or without brackets, "unix:/path". Other names are not looked up.
bool IsLoopback(const std::string& host);

// What the operator may not have meant: plaintext, or an admin port that asks for nothing,
// beyond loopback; users that may patch. One line each.
// `hosts`, `admin_hosts`: where each port listens.
std::vector<std::string> AccessWarnings(const AccessFiles& files,
                                        const std::vector<std::string>& hosts,
                                        const std::vector<std::string>& admin_hosts);

// What this version of gRPC ("1.51.1") lets everybody do who reaches a gRPC port, where that may
// be more than this machine. One line, or none. It does not matter where an edge stands before
// both ports.
std::vector<std::string> EdgeWarnings(const std::string& grpc_version,
                                      const std::vector<std::string>& hosts,
                                      const std::vector<std::string>& admin_hosts);

}  // namespace olmoe::access

#endif  // OLMOE_SERVER_ACCESS_WARNINGS_H_
