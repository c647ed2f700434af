#include "server/log/queued_log.h"

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace olmoe::log {
namespace {

std::string JsonLine(google::LogSeverity severity, const char* file, int line,
                     const google::LogMessageTime& time, const char* message, size_t message_len) {
  LogLine out{.time = absl::FromTimeT(time.timestamp()) + absl::Microseconds(time.usec()),
              .severity = google::GetLogSeverityName(severity),
              .message = std::string(message, message_len),
              .fields = {}};
  out.fields = {{"file", std::string(file)}, {"line", static_cast<uint64_t>(line)}};
  return FormatLine(out, LogFormat::kJson);
}

}  // namespace

QueuedLog::QueuedLog(LogFormat format, LineWriter* writer) : format_(format), writer_(writer) {
  google::AddLogSink(this);
  FLAGS_logtostderr = false;
  FLAGS_alsologtostderr = false;
  FLAGS_stderrthreshold = google::NUM_SEVERITIES;
  for (int severity = 0; severity < google::NUM_SEVERITIES; ++severity) {
    google::SetLogDestination(severity, "");  // no files
  }
}

QueuedLog::~QueuedLog() {
  google::RemoveLogSink(this);
  FLAGS_logtostderr = true;
}

void QueuedLog::send(google::LogSeverity severity, const char* full_filename,
                     const char* base_filename, int line, const google::LogMessageTime& time,
                     const char* message, size_t message_len) {
  writer_->Write(format_ == LogFormat::kJson
                     ? JsonLine(severity, base_filename, line, time, message, message_len)
                     : ToString(severity, base_filename, line, time, message, message_len) + "\n");
  if (severity == google::GLOG_FATAL) writer_->Flush();
}

}  // namespace olmoe::log
