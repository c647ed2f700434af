// What a client reads out of grpc-status-details-bin.
#ifndef OLMOE_TESTS_RPC_STATUS_DETAILS_H_
#define OLMOE_TESTS_RPC_STATUS_DETAILS_H_

#include <grpcpp/support/status.h>

#include <map>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace olmoe::rpc {

google::rpc::Status DetailsOf(const grpc::Status& status);

// The detail of this type; fails the test where it is missing.
google::rpc::ErrorInfo ErrorInfoOf(const google::rpc::Status& status);
google::rpc::ErrorInfo ErrorInfoOf(const grpc::Status& status);
bool HasRetryInfo(const grpc::Status& status);

// Names of the fields in BadRequest, in order.
std::vector<std::string> ViolatedFields(const google::rpc::Status& status);
std::vector<std::string> ViolatedFields(const grpc::Status& status);

}  // namespace olmoe::rpc

#endif  // OLMOE_TESTS_RPC_STATUS_DETAILS_H_
