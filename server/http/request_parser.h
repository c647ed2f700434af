#ifndef OLMOE_SERVER_HTTP_REQUEST_PARSER_H_
#define OLMOE_SERVER_HTTP_REQUEST_PARSER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "server/http/message.h"

namespace olmoe::http {

// Reads one request of HTTP/1.0 or 1.1 from bytes as they arrive, strictly: whatever two servers
// could take for different requests is refused (RFC 9112 asks for most of that), and everything
// but the body is bounded here. Thread-compatible.
class RequestParser {
 public:
  static constexpr size_t kMaxHeaderBytes = 16 << 10;  // with the trailers
  static constexpr size_t kMaxFields = 64;             // with the trailers
  static constexpr size_t kMaxTargetBytes = 8 << 10;
  static constexpr size_t kMaxExtensionBytes = 256;      // of one chunk
  static constexpr size_t kMaxExtensionsBytes = 4 << 10;  // of all chunks
  // What a caller has to be able to keep for it: no header, chunk line or set of trailers that is
  // taken is longer.
  static constexpr size_t kBufferBytes = 32 << 10;

  enum class State {
    kHeader,  // not all of the header is there
    kBody,  // the header is; SetBodyLimit, then go on
    kDone,
    kFailed,
  };

  RequestParser();
  ~RequestParser();

  // Takes what it can use of `bytes`, which begin with those that it did not take the last time,
  // and returns how many these are. Stops after the header. REQUIRES: kHeader or kBody, and more
  // bytes than were left over.
  size_t Feed(std::string_view bytes);
  State state() const { return state_; }

  // From now on the request fails (413) once its body is larger. REQUIRES: kBody or kDone.
  void SetBodyLimit(uint64_t bytes);

  // Why it failed: 400, 413, 414 or 431.
  int error_status() const { return error_status_; }
  // Fails it by hand.
  void Fail(int status);

  const Request& request() const;
  // The same, for whoever handles it.
  Request* mutable_request();
  // Whether the client wants another request on this connection. REQUIRES: kBody or kDone.
  bool keep_alive() const;

 private:
  class Impl;

  const std::unique_ptr<Impl> impl_;
  State state_ = State::kHeader;
  int error_status_ = 0;
};

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_REQUEST_PARSER_H_
