#ifndef OLMOE_TESTS_SUPPORT_LOG_CAPTURE_H_
#define OLMOE_TESTS_SUPPORT_LOG_CAPTURE_H_

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "glog/logging.h"

namespace olmoe::testing {

// What is logged during its life. Thread-safe.
class LogCapture : public google::LogSink {
 public:
  LogCapture() { google::AddLogSink(this); }
  ~LogCapture() override { google::RemoveLogSink(this); }

  std::string text() const {
    absl::MutexLock lock(&mu_);
    return text_;
  }
  // How often `part` is in it.
  int CountOf(const std::string& part) const {
    const std::string all = text();
    int count = 0;
    for (size_t at = all.find(part); at != std::string::npos; at = all.find(part, at + 1)) ++count;
    return count;
  }

  using google::LogSink::send;  // glog has two
  void send(google::LogSeverity, const char*, const char*, int, const ::tm*, const char* message,
            size_t bytes) override {
    absl::MutexLock lock(&mu_);
    text_.append(message, bytes).append("\n");
  }

 private:
  mutable absl::Mutex mu_;
  std::string text_ ABSL_GUARDED_BY(mu_);
};

}  // namespace olmoe::testing

#endif  // OLMOE_TESTS_SUPPORT_LOG_CAPTURE_H_
