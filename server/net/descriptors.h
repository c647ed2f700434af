#ifndef OLMOE_SERVER_NET_DESCRIPTORS_H_
#define OLMOE_SERVER_NET_DESCRIPTORS_H_

#include <cstdint>

#include "server/net/acceptor.h"

namespace olmoe::net {

// Lets this process open as many descriptors as it may (RLIMIT_NOFILE), and tells how many.
uint64_t RaiseDescriptorLimit();

// What each of the two gRPC ports may hold where the process has so many descriptors: a quarter
// is the HTTP port's, some are kept for files, and each connection costs two. At most
// 1,024, since connections take memory too.
ConnectionLimits GrpcPortLimits(uint64_t descriptors);

}  // namespace olmoe::net

#endif  // OLMOE_SERVER_NET_DESCRIPTORS_H_
