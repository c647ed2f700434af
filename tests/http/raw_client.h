// A client that sends the bytes it is told to, well-formed or not.
#ifndef OLMOE_TESTS_HTTP_RAW_CLIENT_H_
#define OLMOE_TESTS_HTTP_RAW_CLIENT_H_

#include <string>
#include <string_view>

namespace olmoe::testing {

struct Answer {
  int status = 0;  // 0: the connection ended before a whole answer
  std::string head;
  std::string body;

  // Empty where there is none.
  std::string Header(const std::string& name) const;
};

// One connection. Waits at most 10 seconds for anything. Thread-compatible.
class RawClient {
 public:
  // To 127.0.0.1, from `source`: any 127.x.y.z is a client of its own.
  explicit RawClient(int port, const char* source = "127.0.0.1", int receive_buffer_bytes = 0);
  // To a Unix socket.
  explicit RawClient(const std::string& path);
  ~RawClient();
  RawClient(RawClient&& other) noexcept;
  RawClient& operator=(RawClient&&) = delete;

  bool connected() const { return connected_; }
  // False where the connection does not take them any more.
  bool Send(std::string_view bytes);
  // The next answer; `without_body`: of HEAD.
  Answer Read(bool without_body = false);
  // The next chunk of a body; empty: the last one, or the connection ended.
  std::string ReadChunk();
  // A GET with the fields that every request needs.
  Answer Get(const std::string& path, const std::string& more_fields = "");
  // Whatever comes until the server ends the connection; false where it does not.
  bool ReadToEnd(std::string* rest = nullptr);

 private:
  void SetTimeouts();
  bool Receive();
  // Up to the next line end, which is taken too; nothing where the connection ends before.
  std::string ReadLine();

  int fd_ = -1;
  bool connected_ = false;
  bool timed_out_ = false;  // the last Receive
  std::string received_;  // and not given out yet
};

// A GET as RawClient::Get sends it.
std::string GetRequest(const std::string& path, const std::string& more_fields = "");
std::string Gunzip(std::string_view packed);

}  // namespace olmoe::testing

#endif  // OLMOE_TESTS_HTTP_RAW_CLIENT_H_
