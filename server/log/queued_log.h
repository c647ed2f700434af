#ifndef OLMOE_SERVER_LOG_QUEUED_LOG_H_
#define OLMOE_SERVER_LOG_QUEUED_LOG_H_

#include "glog/logging.h"
#include "server/log/line_writer.h"
#include "server/log/log_line.h"

namespace olmoe::log {

// Sends what is logged by glog to `writer`, in place of glog's own output, for as long as it
// lives: so all lines keep their order, no thread waits for who reads them, and each is an
// object in JSON. What glog prints when the process dies of a CHECK, the stack, stays as it
// is. One object; thread-safe.
class QueuedLog : public google::LogSink {
 public:
  // `writer` outlives this.
  QueuedLog(LogFormat format, LineWriter* writer);
  ~QueuedLog() override;

  void send(google::LogSeverity severity, const char* full_filename, const char* base_filename,
            int line, const google::LogMessageTime& time, const char* message,
            size_t message_len) override;

 private:
  const LogFormat format_;
  LineWriter* const writer_;
};

}  // namespace olmoe::log

#endif  // OLMOE_SERVER_LOG_QUEUED_LOG_H_
