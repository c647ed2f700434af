#include "server/http/monitoring.h"

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/http/http_server.h"
#include "server/http/metrics_text.h"
#include "tests/http/raw_client.h"

namespace olmoe::http {
namespace {

using testing::Answer;
using testing::Gunzip;
using ::testing::HasSubstr;
using testing::RawClient;

class FixedMetrics : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    prometheus::MetricFamily family{"olmoe_test", "Help.", prometheus::MetricType::Gauge, {}};
    for (int i = 0; i < 500; ++i) {
      prometheus::ClientMetric& sample = family.metric.emplace_back();
      sample.label.push_back({"i", absl::StrCat(i)});
      sample.gauge.value = i;
    }
    return {family};
  }
};

class MonitoringTest : public ::testing::Test {
 protected:
  MonitoringTest()
      : server_(HttpServer::Create(
                    {.listener = net::Listener::Bind("127.0.0.1:0").value(),
                     .routes = MonitoringRoutes({.metrics = &metrics_,
                                                 .ready = [this] { return ready_.load(); }})
                                   .value()})
                    .value()),
        client_(server_->port()) {}

  FixedMetrics metrics_;
  std::atomic<bool> ready_ = true;
  const std::unique_ptr<HttpServer> server_;
  RawClient client_;
};

TEST_F(MonitoringTest, MetricsAreInPrometheusTextFormat) {
  const Answer answer = client_.Get("/metrics");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.Header("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(answer.Header("Vary"), "Accept-Encoding");
  EXPECT_THAT(answer.body, HasSubstr("# HELP olmoe_test Help.\n"));
  EXPECT_THAT(answer.body, HasSubstr("olmoe_test{i=\"499\"} 499\n"));
}

TEST_F(MonitoringTest, MetricsAreCompressedWhereTheClientTakesIt) {
  const Answer plain = client_.Get("/metrics");
  const Answer packed = client_.Get("/metrics", "Accept-Encoding: gzip\r\n");
  EXPECT_EQ(packed.Header("Content-Encoding"), "gzip");
  EXPECT_LT(packed.body.size() * 3, plain.body.size());
  EXPECT_EQ(Gunzip(packed.body), plain.body);
}

TEST_F(MonitoringTest, MetricsAreNotCompressedForAClientThatDoesNotTakeIt) {
  for (const char* accept : {"identity", "gzip;q=0", "br, *;q=0", "deflate"}) {
    const Answer answer =
        client_.Get("/metrics", absl::StrCat("Accept-Encoding: ", accept, "\r\n"));
    EXPECT_EQ(answer.Header("Content-Encoding"), "") << accept;
    EXPECT_THAT(answer.body, HasSubstr("olmoe_test{i=\"499\"} 499\n"));
  }
}

TEST(TakesGzipTest, AnEncodingIsTakenByNameOrStarUnlessItsWeightIsZero) {
  for (const char* yes :
       {"gzip", "deflate, gzip;q=1.0", "GZIP", "*", "*;q=0, gzip", "gzip ; q=0.5"}) {
    EXPECT_TRUE(TakesGzip(yes)) << yes;
  }
  for (const char* no :
       {"", "identity", "gzip;q=0", "*, gzip;q=0", "gzip;q=x", "xgzip", ";", ","}) {
    EXPECT_FALSE(TakesGzip(no)) << no;
  }
}

TEST_F(MonitoringTest, HealthIsLivenessAndReadyIsReadiness) {
  EXPECT_EQ(client_.Get("/healthz").status, 200);
  EXPECT_EQ(client_.Get("/readyz").status, 200);
  ready_ = false;
  EXPECT_EQ(client_.Get("/healthz").body, "ok\n");
  const Answer not_ready = client_.Get("/readyz");
  EXPECT_EQ(not_ready.status, 503);
  EXPECT_EQ(not_ready.body, "not ready\n");
}

TEST_F(MonitoringTest, OtherPathsMethodsAndBodiesAreRefused) {
  EXPECT_EQ(client_.Get("/admin").status, 404);
  ASSERT_TRUE(client_.Send("POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_EQ(client_.Read().status, 405);
  EXPECT_EQ(client_.Get("/healthz", "Content-Length: 1\r\n").status, 413);
}

}  // namespace
}  // namespace olmoe::http
