// A pipe whose reader a test holds.
#ifndef OLMOE_TESTS_LOG_PIPE_H_
#define OLMOE_TESTS_LOG_PIPE_H_

#include <fcntl.h>
#include <unistd.h>

#include <sstream>
#include <string>
#include <vector>

#include "glog/logging.h"

namespace olmoe::log {

class Pipe {
 public:
  Pipe() { PCHECK(pipe2(ends_, O_CLOEXEC) == 0); }
  ~Pipe() {
    CloseReader();
    CloseWriter();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int writer() const { return ends_[1]; }
  void CloseReader() { Close(&ends_[0]); }
  void CloseWriter() { Close(&ends_[1]); }

  // Waits for the next line.
  std::string ReadLine() {
    std::string line;
    for (char c = 0; read(ends_[0], &c, 1) == 1 && c != '\n';) line += c;
    return line;
  }
  // Everything, when nobody writes any more.
  std::vector<std::string> ReadRest() {
    CloseWriter();
    return ReadToEnd();
  }
  // Until somebody closes the writer.
  std::vector<std::string> ReadToEnd() {
    std::string text;
    char buffer[4096];
    for (ssize_t n = 0; (n = read(ends_[0], buffer, sizeof(buffer))) > 0;) {
      text.append(buffer, static_cast<size_t>(n));
    }
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }

 private:
  static void Close(int* end) {
    if (*end >= 0) close(*end);
    *end = -1;
  }
  int ends_[2] = {-1, -1};
};

}  // namespace olmoe::log

#endif  // OLMOE_TESTS_LOG_PIPE_H_
