#include "tests/http/raw_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace olmoe::testing {
namespace {

constexpr timeval kPatience = {10, 0};

sockaddr_in Ipv4(const char* address, int port) {
  sockaddr_in result = {};
  result.sin_family = AF_INET;
  result.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, address, &result.sin_addr);
  return result;
}

}  // namespace

std::string Answer::Header(const std::string& name) const {
  const std::string line = absl::StrCat("\r\n", name, ": ");
  const size_t at = head.find(line);
  if (at == std::string::npos) return "";
  const size_t begin = at + line.size();
  return head.substr(begin, head.find("\r\n", begin) - begin);
}

RawClient::RawClient(int port, const char* source, int receive_buffer_bytes)
    : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  if (receive_buffer_bytes > 0) {
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof(receive_buffer_bytes));
  }
  const sockaddr_in from = Ipv4(source, 0), to = Ipv4("127.0.0.1", port);
  connected_ = bind(fd_, reinterpret_cast<const sockaddr*>(&from), sizeof(from)) == 0 &&
               connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0;
  SetTimeouts();
}

RawClient::RawClient(const std::string& path)
    : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un to = {};
  to.sun_family = AF_UNIX;
  path.copy(to.sun_path, sizeof(to.sun_path) - 1);
  connected_ = connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0;
  SetTimeouts();
}

RawClient::RawClient(RawClient&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      connected_(other.connected_),
      received_(std::move(other.received_)) {}

RawClient::~RawClient() {
  if (fd_ >= 0) close(fd_);
}

void RawClient::SetTimeouts() {
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof(kPatience));
  const int yes = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
}

bool RawClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool RawClient::Receive() {
  char piece[64 << 10];
  const ssize_t size = recv(fd_, piece, sizeof(piece), 0);
  timed_out_ = size < 0 && errno == EAGAIN;
  if (size > 0) received_.append(piece, static_cast<size_t>(size));
  return size > 0;
}

Answer RawClient::Read(bool without_body) {
  size_t end;
  while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
    if (!Receive()) return {};
  }
  Answer answer;
  answer.head = received_.substr(0, end + 2);
  received_.erase(0, end + 4);
  const std::string length = answer.Header("Content-Length");
  const size_t size = without_body || length.empty() ? 0 : std::stoul(length);
  while (received_.size() < size) {
    if (!Receive()) return {};
  }
  answer.body = received_.substr(0, size);
  received_.erase(0, size);
  answer.status = std::atoi(answer.head.substr(9, 3).c_str());
  return answer;
}

std::string RawClient::ReadLine() {
  size_t end;
  while ((end = received_.find("\r\n")) == std::string::npos) {
    if (!Receive()) return "";
  }
  std::string line = received_.substr(0, end);
  received_.erase(0, end + 2);
  return line;
}

std::string RawClient::ReadChunk() {
  const size_t size = std::strtoul(ReadLine().c_str(), nullptr, 16);
  while (received_.size() < size) {
    if (!Receive()) return "";
  }
  std::string chunk = received_.substr(0, size);
  received_.erase(0, size);
  ReadLine();
  return chunk;
}

Answer RawClient::Get(const std::string& path, const std::string& more_fields) {
  if (!Send(GetRequest(path, more_fields))) return {};
  return Read();
}

bool RawClient::ReadToEnd(std::string* rest) {
  while (Receive()) {
  }
  if (rest != nullptr) *rest = std::exchange(received_, "");
  return !timed_out_;
}

std::string GetRequest(const std::string& path, const std::string& more_fields) {
  return absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: test\r\n", more_fields, "\r\n");
}

std::string Gunzip(std::string_view packed) {
  z_stream stream = {};
  if (inflateInit2(&stream, 15 + 16) != Z_OK) return "";
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string text;
  int result = Z_OK;
  while (result == Z_OK) {
    char piece[16 << 10];
    stream.next_out = reinterpret_cast<Bytef*>(piece);
    stream.avail_out = sizeof(piece);
    result = inflate(&stream, Z_NO_FLUSH);
    text.append(piece, sizeof(piece) - stream.avail_out);
  }
  inflateEnd(&stream);
  return result == Z_STREAM_END ? text : "";
}

}  // namespace olmoe::testing
