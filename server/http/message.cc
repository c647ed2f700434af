#include "server/http/message.h"

#include <algorithm>
#include <exception>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace olmoe::http {

const char* ReasonOf(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 503: return "Service Unavailable";
    default: return "";
  }
}

std::vector<std::string_view> Request::Values(std::string_view name) const {
  std::vector<std::string_view> values;
  for (const auto& [field, value] : fields) {
    if (absl::EqualsIgnoreCase(field, absl::string_view(name.data(), name.size()))) {
      values.push_back(value);
    }
  }
  return values;
}

std::string Request::Header(std::string_view name) const {
  std::string list;
  for (const std::string_view value : Values(name)) {
    if (!list.empty()) list += ", ";
    list += value;
  }
  return list;
}

Response TextResponse(int status, std::string text, const char* type) {
  return {.status = status,
          .fields = {{"Content-Type", type}},
          .body = std::make_shared<const std::string>(std::move(text))};
}

Response StatusResponse(int status) {
  return TextResponse(status, absl::StrCat(status, " ", ReasonOf(status), "\n"),
                      "text/plain; charset=utf-8");
}

Response RefusalText(int status, std::string_view why) {
  if (why.empty()) return StatusResponse(status);
  return TextResponse(status, std::string(why) + "\n", "text/plain; charset=utf-8");
}

// A field whose text could end the line early is left out: it is our own, or was echoed.
std::string ResponseHead(const Response& response, bool http11, bool keep) {
  std::string head =
      absl::StrCat("HTTP/1.1 ", response.status, " ", ReasonOf(response.status), "\r\n");
  if (response.stream == nullptr) {
    const size_t size = response.body == nullptr ? 0 : response.body->size();
    absl::StrAppend(&head, "Content-Length: ", size, "\r\n");
  } else if (http11) {
    head += "Transfer-Encoding: chunked\r\n";
  }
  if (!keep) head += "Connection: close\r\n";
  if (keep && !http11) head += "Connection: keep-alive\r\n";
  for (const auto& [name, value] : response.fields) {
    const std::string line = absl::StrCat(name, ": ", value);
    const bool is_line = std::none_of(line.begin(), line.end(), [](unsigned char c) {
      return (c < ' ' && c != '\t') || c == 0x7F;
    });
    if (is_line) absl::StrAppend(&head, line, "\r\n");
  }
  return head += "\r\n";
}

void ClientWatch::Watch(std::function<void()> gone) {
  absl::MutexLock lock(&mu_);
  gone_ = std::move(gone);
}

bool ClientWatch::is_watched() const {
  absl::MutexLock lock(&mu_);
  return gone_ != nullptr;
}

void ClientWatch::Gone() {
  std::function<void()> gone;
  {
    absl::MutexLock lock(&mu_);
    gone = std::exchange(gone_, nullptr);
  }
  if (gone != nullptr) gone();
}

void ClientWatch::End() {
  std::function<void()> unused;  // goes without the lock
  {
    absl::MutexLock lock(&mu_);
    unused = std::exchange(gone_, nullptr);
  }
}

Reply::State::~State() {
  try {
    Send(refuse_(500, ""));
  } catch (const std::exception&) {  // no memory: the client's patience ends it
  }
}

void Reply::State::Send(Response response) {
  if (sent_.exchange(true)) return;
  if (client_ != nullptr) client_->End();
  send_(std::move(response));
}

void Reply::State::OnGone(std::function<void()> gone) {
  if (client_ != nullptr && !sent_) client_->Watch(std::move(gone));
}

}  // namespace olmoe::http
