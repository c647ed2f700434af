#include "server/http/metrics_text.h"

#include <zlib.h>

#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "glog/logging.h"
#include "prometheus/text_serializer.h"

namespace olmoe::http {

std::string MetricsText(const std::vector<prometheus::MetricFamily>& families) {
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, families);
  return std::move(text).str();
}

std::string Gzip(std::string_view text, int level) {
  constexpr int kGzipWindow = 15 + 16, kMemory = 8;
  z_stream stream = {};
  CHECK_EQ(deflateInit2(&stream, level, Z_DEFLATED, kGzipWindow, kMemory, Z_DEFAULT_STRATEGY),
           Z_OK);
  std::string packed(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  CHECK_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

bool TakesGzip(const std::string& accept) {
  std::optional<bool> gzip, any;
  for (const std::string& item : std::vector<std::string>(absl::StrSplit(accept, ','))) {
    std::vector<std::string> parts = absl::StrSplit(item, ';');
    for (std::string& part : parts) absl::StripAsciiWhitespace(&part);
    double weight = 1;
    for (size_t i = 1; i < parts.size(); ++i) {
      if (!absl::StartsWithIgnoreCase(parts[i], "q=")) continue;
      if (!absl::SimpleAtod(parts[i].substr(2), &weight)) weight = 0;
    }
    if (absl::EqualsIgnoreCase(parts[0], "gzip")) gzip = weight > 0;
    if (parts[0] == "*") any = weight > 0;
  }
  return gzip.value_or(any.value_or(false));
}

}  // namespace olmoe::http
