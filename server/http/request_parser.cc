#include "server/http/request_parser.h"

#include <string>
#include <utility>  // which Boost 1.74 forgets

// Beast asserts that the last chunk of an empty body does not come a byte at a time, which is for
// clients to choose; it reads it well all the same.
#define BOOST_DISABLE_ASSERTS
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>

#include "absl/strings/match.h"

namespace olmoe::http {
namespace {

namespace beast = boost::beast::http;
using beast::error;
using boost::system::error_code;

int StatusOf(const error_code& code) {
  if (code == error::header_limit) return 431;
  if (code == error::body_limit) return 413;
  return 400;
}

// A value that goes on in the next line: Beast joins the lines, others do not.
bool HasFoldedLine(std::string_view header) {
  return header.find("\r\n ") != std::string_view::npos ||
         header.find("\r\n\t") != std::string_view::npos;
}

}  // namespace

// Beast splits the bytes into their parts. Beyond that it takes more than is good: encodings that
// it does not know, two equal lengths, requests without a Host or with two; and its header_limit
// is one of what it has to look at, not of all that came before.
class RequestParser::Impl final : public beast::basic_parser<true> {
 public:
  Impl() {
    header_limit(kMaxHeaderBytes);
    body_limit(UINT64_MAX);  // which is set once the route is known; none at all would refuse all
  }

  // The status to fail with, where Beast's code does not say it.
  int status() const { return status_; }
  const Request& request() const { return request_; }
  Request* mutable_request() { return &request_; }

 private:
  using Text = boost::beast::string_view;

  void Fail(int status, error_code& code) {
    status_ = status;
    code = error::bad_value;
  }

  void on_request_impl(beast::verb, Text method, Text target, int version,
                       error_code& code) override {
    if (target.size() > kMaxTargetBytes) return Fail(414, code);
    request_.method = std::string(method);
    request_.http11 = version == 11;
    if (!SetTarget(std::string_view(target.data(), target.size()))) Fail(400, code);
  }

  // "/path?query", or as a proxy is asked, "http://host/path".
  bool SetTarget(std::string_view target) {
    constexpr std::string_view kScheme = "http://";
    if (target.starts_with(kScheme)) {
      const size_t path = target.find('/', kScheme.size());
      target = path == std::string_view::npos ? "/" : target.substr(path);
    }
    if (!target.starts_with('/') && target != "*") return false;
    const size_t mark = target.find('?');
    request_.path = std::string(target.substr(0, mark));
    if (mark != std::string_view::npos) request_.query = std::string(target.substr(mark + 1));
    return true;
  }

  void on_field_impl(beast::field field, Text name, Text value, error_code& code) override {
    header_bytes_ += name.size() + value.size() + 4;
    if (++num_fields_ > kMaxFields || header_bytes_ > kMaxHeaderBytes) return Fail(431, code);
    if (is_header_done()) return;  // a trailer
    if (field == beast::field::host) ++num_hosts_;
    if (field == beast::field::content_length &&
        (++num_lengths_ > 1 || value.find(',') != Text::npos)) {
      return Fail(400, code);
    }
    if (field == beast::field::transfer_encoding &&
        (!request_.http11 || !boost::beast::iequals(value, "chunked"))) {
      return Fail(400, code);
    }
    request_.fields.emplace_back(std::string(name), std::string(value));
  }

  void on_header_impl(error_code& code) override {
    if (num_hosts_ > 1 || (num_hosts_ == 0 && request_.http11)) Fail(400, code);
  }

  void on_chunk_header_impl(uint64_t, Text extensions, error_code& code) override {
    extensions_bytes_ += extensions.size();
    if (extensions.size() > kMaxExtensionBytes || extensions_bytes_ > kMaxExtensionsBytes) {
      Fail(400, code);
    }
  }

  size_t on_body_impl(Text body, error_code&) override {
    request_.body.append(body.data(), body.size());
    return body.size();
  }
  size_t on_chunk_body_impl(uint64_t, Text body, error_code& code) override {
    return on_body_impl(body, code);
  }

  void on_response_impl(int, Text, int, error_code&) override {}
  void on_body_init_impl(const boost::optional<uint64_t>&, error_code&) override {}
  void on_finish_impl(error_code&) override {}

  Request request_;
  int status_ = 0;
  size_t num_fields_ = 0, num_hosts_ = 0, num_lengths_ = 0;
  size_t header_bytes_ = 0, extensions_bytes_ = 0;
};

RequestParser::RequestParser() : impl_(std::make_unique<Impl>()) {}
RequestParser::~RequestParser() = default;

size_t RequestParser::Feed(std::string_view bytes) {
  error_code code;
  const size_t taken = impl_->put(boost::asio::const_buffer(bytes.data(), bytes.size()), code);
  if (code && code != error::need_more) {
    Fail(impl_->status() != 0 ? impl_->status() : StatusOf(code));
  } else if (state_ == State::kHeader && HasFoldedLine(bytes.substr(0, taken))) {
    Fail(400);
  } else if (impl_->is_done()) {
    state_ = State::kDone;
  } else if (impl_->is_header_done()) {
    state_ = State::kBody;
    impl_->eager(true);  // all of what follows belongs together
  }
  return taken;
}

void RequestParser::SetBodyLimit(uint64_t bytes) {
  const auto length = impl_->content_length();
  if (length && *length > bytes) return Fail(413);
  impl_->body_limit(bytes);
}

void RequestParser::Fail(int status) {
  state_ = State::kFailed;
  error_status_ = status;
}

const Request& RequestParser::request() const { return impl_->request(); }
Request* RequestParser::mutable_request() { return impl_->mutable_request(); }
bool RequestParser::keep_alive() const { return impl_->keep_alive(); }

}  // namespace olmoe::http
