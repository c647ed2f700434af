#include "server/http/packed_body.h"

#include <httplib.h>

#include <memory>
#include <utility>

#include "server/http/metrics_text.h"

namespace olmoe::http {
namespace {

// A body of known length from a provider is left as it is. What is set as content httplib
// compresses itself: for a browser by brotli at its best and slowest.
void SetBody(std::string text, const char* type, httplib::Response* response) {
  const auto body = std::make_shared<const std::string>(std::move(text));
  response->set_content_provider(
      body->size(), type, [body](size_t offset, size_t length, httplib::DataSink& sink) {
        return sink.write(body->data() + offset, length);
      });
}

}  // namespace

void SetPackedBody(std::string text, const char* type, const httplib::Request& request,
                   httplib::Response* response) {
  response->set_header("Vary", "Accept-Encoding");
  if (TakesGzip(request.get_header_value("Accept-Encoding"))) {
    response->set_header("Content-Encoding", "gzip");
    text = Gzip(text);
  }
  SetBody(std::move(text), type, response);
}

}  // namespace olmoe::http
