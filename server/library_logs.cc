#include "server/library_logs.h"

#include <grpc/support/log.h>

#include <string>
#include <string_view>

#include "glog/logging.h"
#include "google/protobuf/stubs/logging.h"

namespace olmoe {
namespace {

void LogForGrpc(gpr_log_func_args* args) {
  // Listening: what goes wrong there is told, in one line, by GrpcServer::Create.
  const bool told = std::string_view(args->file).ends_with("chttp2_server.cc");
  if (args->severity == GPR_LOG_SEVERITY_ERROR && !told) {
    LOG_EVERY_T(WARNING, 1) << "gRPC: " << args->message;
  } else {
    VLOG(1) << "gRPC: " << args->message;
  }
}

void LogForProtobuf(google::protobuf::LogLevel level, const char* filename, int line,
                    const std::string& message) {
  if (level == google::protobuf::LOGLEVEL_FATAL) LOG(FATAL) << "protobuf: " << message;
  VLOG(1) << "protobuf: " << message;
}

}  // namespace

void RedirectLibraryLogs() {
  gpr_set_log_function(&LogForGrpc);
  google::protobuf::SetLogHandler(&LogForProtobuf);
}

}  // namespace olmoe
