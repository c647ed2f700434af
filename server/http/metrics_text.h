#ifndef OLMOE_SERVER_HTTP_METRICS_TEXT_H_
#define OLMOE_SERVER_HTTP_METRICS_TEXT_H_

#include <string>
#include <string_view>
#include <vector>

#include "prometheus/metric_family.h"

namespace olmoe::http {

// The body of /metrics: Prometheus' text format, version 0.0.4.
std::string MetricsText(const std::vector<prometheus::MetricFamily>& families);

// `text` as Content-Encoding: gzip, by zlib's `level`. A scrape is mostly repetition, so
// the fastest level packs it nearly as well as the default at a fraction of the time.
std::string Gzip(std::string_view text, int level = 1);

// Whether a client whose Accept-Encoding is `accept` takes gzip: it names it, or *, and not
// with q=0.
bool TakesGzip(const std::string& accept);

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_METRICS_TEXT_H_
