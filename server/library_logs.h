#ifndef OLMOE_SERVER_LIBRARY_LOGS_H_
#define OLMOE_SERVER_LIBRARY_LOGS_H_

namespace olmoe {

// Sends what gRPC and protobuf log to glog, at most one line a second, so that a
// client that sends malformed requests or frames cannot fill the log. Call once.
void RedirectLibraryLogs();

}  // namespace olmoe

#endif  // OLMOE_SERVER_LIBRARY_LOGS_H_
