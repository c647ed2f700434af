#include "tests/rpc/status_details.h"

#include "gtest/gtest.h"

namespace olmoe::rpc {
namespace {

template <class Detail>
bool Find(const google::rpc::Status& status, Detail* detail) {
  for (const google::protobuf::Any& any : status.details()) {
    if (any.UnpackTo(detail)) return true;
  }
  return false;
}

}  // namespace

google::rpc::Status DetailsOf(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), static_cast<int>(status.error_code()));
  EXPECT_EQ(details.message(), status.error_message());
  return details;
}

google::rpc::ErrorInfo ErrorInfoOf(const google::rpc::Status& status) {
  google::rpc::ErrorInfo info;
  EXPECT_TRUE(Find(status, &info)) << status.ShortDebugString();
  EXPECT_EQ(info.domain(), "olmoe");
  return info;
}

google::rpc::ErrorInfo ErrorInfoOf(const grpc::Status& status) {
  return ErrorInfoOf(DetailsOf(status));
}

bool HasRetryInfo(const grpc::Status& status) {
  google::rpc::RetryInfo info;
  return Find(DetailsOf(status), &info);
}

std::vector<std::string> ViolatedFields(const google::rpc::Status& status) {
  google::rpc::BadRequest bad_request;
  EXPECT_TRUE(Find(status, &bad_request)) << status.ShortDebugString();
  std::vector<std::string> fields;
  for (const auto& violation : bad_request.field_violations()) {
    fields.push_back(violation.field());
    EXPECT_NE(violation.description(), "") << violation.field();
  }
  return fields;
}

std::vector<std::string> ViolatedFields(const grpc::Status& status) {
  return ViolatedFields(DetailsOf(status));
}

}  // namespace olmoe::rpc
